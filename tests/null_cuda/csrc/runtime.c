/* CUDA's runtime: the device, launches, streams and events. */
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "null_cuda.h"

/* The last error of this thread, as launches leave it: torch asks for it after each one. */
static _Thread_local cudaError_t last_error;

static cudaError_t fail(cudaError_t error) {
    last_error = error;
    return error;
}

/* The device: the limits of an H100. */

enum {
    MULTIPROCESSORS = 132,
    WARP_SIZE = 32,
    MAX_THREADS_PER_BLOCK = 1024,
    MAX_BLOCK_DEPTH = 64,
    MAX_GRID_WIDTH = 2147483647,
    MAX_GRID_HEIGHT = 65535,
    MAX_THREADS_PER_MULTIPROCESSOR = 2048,
    MAX_BLOCKS_PER_MULTIPROCESSOR = 32,
    REGISTERS = 65536,
    SHARED_MEMORY_PER_BLOCK = 49152,
    SHARED_MEMORY_PER_BLOCK_OPTIN = 232448,
    SHARED_MEMORY_PER_MULTIPROCESSOR = 233472,
    L2_CACHE_SIZE = 50 << 20,
    CLOCK_RATE = 1980000,        /* kHz */
    MEMORY_CLOCK_RATE = 2619000, /* kHz */
    MEMORY_BUS_WIDTH = 5120,     /* bits */
};

int device_attribute(int attribute) {
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: return COMPUTE_CAPABILITY_MAJOR;
    case cudaDevAttrComputeCapabilityMinor: return COMPUTE_CAPABILITY_MINOR;
    case cudaDevAttrMultiProcessorCount: return MULTIPROCESSORS;
    case cudaDevAttrWarpSize: return WARP_SIZE;
    case cudaDevAttrMaxThreadsPerBlock: return MAX_THREADS_PER_BLOCK;
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY: return MAX_THREADS_PER_BLOCK;
    case cudaDevAttrMaxBlockDimZ: return MAX_BLOCK_DEPTH;
    case cudaDevAttrMaxGridDimX: return MAX_GRID_WIDTH;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: return MAX_GRID_HEIGHT;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return MAX_THREADS_PER_MULTIPROCESSOR;
    case cudaDevAttrMaxBlocksPerMultiprocessor: return MAX_BLOCKS_PER_MULTIPROCESSOR;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor: return REGISTERS;
    case cudaDevAttrMaxSharedMemoryPerBlock: return SHARED_MEMORY_PER_BLOCK;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return SHARED_MEMORY_PER_BLOCK_OPTIN;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return SHARED_MEMORY_PER_MULTIPROCESSOR;
    case cudaDevAttrL2CacheSize: return L2_CACHE_SIZE;
    case cudaDevAttrClockRate: return CLOCK_RATE;
    case cudaDevAttrMemoryClockRate: return MEMORY_CLOCK_RATE;
    case cudaDevAttrGlobalMemoryBusWidth: return MEMORY_BUS_WIDTH;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCooperativeLaunch: return 1;
    default: return 0;
    }
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    (void)device;
    *value = device_attribute(attribute);
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    (void)device;
    *properties = (struct cudaDeviceProp){
        .name = "null CUDA device",
        .totalGlobalMem = MEMORY_SIZE,
        .major = COMPUTE_CAPABILITY_MAJOR,
        .minor = COMPUTE_CAPABILITY_MINOR,
        .multiProcessorCount = MULTIPROCESSORS,
        .warpSize = WARP_SIZE,
        .maxThreadsPerBlock = MAX_THREADS_PER_BLOCK,
        .maxThreadsDim = {MAX_THREADS_PER_BLOCK, MAX_THREADS_PER_BLOCK, MAX_BLOCK_DEPTH},
        .maxGridSize = {MAX_GRID_WIDTH, MAX_GRID_HEIGHT, MAX_GRID_HEIGHT},
        .maxThreadsPerMultiProcessor = MAX_THREADS_PER_MULTIPROCESSOR,
        .maxBlocksPerMultiProcessor = MAX_BLOCKS_PER_MULTIPROCESSOR,
        .regsPerBlock = REGISTERS,
        .regsPerMultiprocessor = REGISTERS,
        .sharedMemPerBlock = SHARED_MEMORY_PER_BLOCK,
        .sharedMemPerBlockOptin = SHARED_MEMORY_PER_BLOCK_OPTIN,
        .sharedMemPerMultiprocessor = SHARED_MEMORY_PER_MULTIPROCESSOR,
        .l2CacheSize = L2_CACHE_SIZE,
        .memoryBusWidth = MEMORY_BUS_WIDTH,
        .textureAlignment = 512,
        .asyncEngineCount = 3,
        .unifiedAddressing = 1,
        .managedMemory = 1,
        .concurrentKernels = 1,
        .cooperativeLaunch = 1,
    };
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : fail(cudaErrorInvalidDevice); }

cudaError_t cudaDriverGetVersion(int *version) {
    *version = DRIVER_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device) {
    snprintf(id, length, "0000:%02x:00.0", device);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can_access, int device, int peer) {
    (void)device, (void)peer;
    *can_access = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
    record("synchronize", "cudaDeviceSynchronize", 0, false);
    return cudaSuccess;
}

cudaError_t cudaProfilerStart(void) { return cudaSuccess; }

cudaError_t cudaProfilerStop(void) { return cudaSuccess; }

/* Errors */

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidDeviceFunction: return "cudaErrorInvalidDeviceFunction";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    default: return "an error of the null CUDA device";
    }
}

const char *cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

/* Kernels. torch registers each of its kernels by the address of a host function when its libraries are loaded. */

enum { KERNEL_SLOTS = 1 << 20 }; /* of a hash table with open addressing; torch 2.14 registers about 100,000 kernels */

static struct {
    const void *host_function; /* NULL in a free slot */
    const char *name;
} kernels[KERNEL_SLOTS];
static int kernel_count;

static unsigned kernel_slot(const void *host_function) {
    unsigned slot = (unsigned)((uintptr_t)host_function >> 4) * 2654435761u % KERNEL_SLOTS;
    while (kernels[slot].host_function && kernels[slot].host_function != host_function) {
        slot = (slot + 1) % KERNEL_SLOTS;
    }
    return slot;
}

static const char *kernel_name(const void *host_function) { return kernels[kernel_slot(host_function)].name; }

/* The names of the functions below and their arguments are those of the code that nvcc generates; no header has them. */

void **__cudaRegisterFatBinary(void *binary) {
    static void *handle;
    (void)binary;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }

void __cudaUnregisterFatBinary(void **handle) { (void)handle; }

char __cudaInitModule(void **handle) {
    (void)handle;
    return 1;
}

void __cudaRegisterVar(void **handle, char *variable, char *address, const char *name, int external, size_t size,
                       int constant, int global) {
    (void)handle, (void)variable, (void)address, (void)name, (void)external, (void)size, (void)constant, (void)global;
}

void __cudaRegisterFunction(void **handle, const char *host_function, char *device_function, const char *name,
                            int thread_limit, void *thread, void *block, void *block_size, void *grid_size,
                            int *warp_size) {
    (void)handle, (void)device_function, (void)thread_limit, (void)thread, (void)block, (void)block_size;
    (void)grid_size, (void)warp_size;
    if (++kernel_count > KERNEL_SLOTS / 2) {
        fprintf(stderr, "null CUDA device: more than %d kernels\n", KERNEL_SLOTS / 2);
        abort();
    }
    unsigned slot = kernel_slot(host_function);
    kernels[slot].host_function = host_function;
    kernels[slot].name = name;
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *host_function) {
    *kernel = (cudaKernel_t)host_function;
    return cudaSuccess;
}

/* Launches. `kernel<<<grid, block, shared, stream>>>(…)` pushes its configuration, and the host function pops it. */

struct configuration {
    dim3 grid, block;
    size_t shared_bytes;
    cudaStream_t stream;
};

enum { MAX_CONFIGURATIONS = 16 };

static _Thread_local struct configuration configurations[MAX_CONFIGURATIONS];
static _Thread_local int configuration_count;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
    if (configuration_count == MAX_CONFIGURATIONS) return 1;
    configurations[configuration_count++] = (struct configuration){grid, block, shared_bytes, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream) {
    struct configuration configuration = configurations[--configuration_count];
    *grid = configuration.grid;
    *block = configuration.block;
    *shared_bytes = configuration.shared_bytes;
    *(cudaStream_t *)stream = configuration.stream;
    return cudaSuccess;
}

int record_launch(const char *kernel, const unsigned grid[3], const unsigned block[3], size_t shared_bytes) {
    unsigned long long threads = (unsigned long long)block[0] * block[1] * block[2];
    bool grid_fits = grid[0] && grid[1] && grid[2] && grid[0] <= MAX_GRID_WIDTH && grid[1] <= MAX_GRID_HEIGHT &&
                     grid[2] <= MAX_GRID_HEIGHT;
    bool block_fits = threads && threads <= MAX_THREADS_PER_BLOCK && block[2] <= MAX_BLOCK_DEPTH;
    record("kernel", kernel, (size_t)grid[0] * grid[1] * grid[2], false);
    if (!grid_fits || !block_fits) return cudaErrorInvalidConfiguration;
    return shared_bytes <= SHARED_MEMORY_PER_BLOCK_OPTIN ? cudaSuccess : cudaErrorInvalidValue;
}

static cudaError_t launch(const void *host_function, dim3 grid, dim3 block, size_t shared_bytes) {
    const char *name = kernel_name(host_function);
    if (!name) return fail(cudaErrorInvalidDeviceFunction);
    unsigned grid_size[] = {grid.x, grid.y, grid.z}, block_size[] = {block.x, block.y, block.z};
    cudaError_t error = record_launch(name, grid_size, block_size, shared_bytes);
    return error == cudaSuccess ? error : fail(error);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                               cudaStream_t stream) {
    (void)arguments, (void)stream;
    return launch(kernel, grid, block, shared_bytes);
}

cudaError_t cudaLaunchKernel(const void *host_function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                             cudaStream_t stream) {
    (void)arguments, (void)stream;
    return launch(host_function, grid, block, shared_bytes);
}

cudaError_t cudaLaunchCooperativeKernel(const void *host_function, dim3 grid, dim3 block, void **arguments,
                                        size_t shared_bytes, cudaStream_t stream) {
    (void)arguments, (void)stream;
    return launch(host_function, grid, block, shared_bytes);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *host_function, void **arguments) {
    (void)arguments;
    return launch(host_function, configuration->gridDim, configuration->blockDim, configuration->dynamicSmemBytes);
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *host_function) {
    (void)host_function;
    int version = 10 * COMPUTE_CAPABILITY_MAJOR + COMPUTE_CAPABILITY_MINOR;
    *attributes = (struct cudaFuncAttributes){
        .maxThreadsPerBlock = MAX_THREADS_PER_BLOCK,
        .numRegs = 32,
        .binaryVersion = version,
        .ptxVersion = version,
        .maxDynamicSharedSizeBytes = SHARED_MEMORY_PER_BLOCK_OPTIN,
    };
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *host_function, enum cudaFuncAttribute attribute, int value) {
    (void)host_function, (void)attribute, (void)value;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *host_function,
                                                                   int block_size, size_t shared_bytes,
                                                                   unsigned flags) {
    (void)host_function, (void)shared_bytes, (void)flags;
    *blocks = MAX_THREADS_PER_MULTIPROCESSOR / block_size;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *host_function, int block_size,
                                                          size_t shared_bytes) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, host_function, block_size, shared_bytes, 0);
}

/* Variables of the device have one place for all of them, since nothing reads them. */

cudaError_t cudaGetSymbolAddress(void **address, const void *symbol) {
    static char variable[1 << 16];
    (void)symbol;
    *address = variable;
    return cudaSuccess;
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t size, size_t offset,
                               enum cudaMemcpyKind kind) {
    (void)symbol, (void)from, (void)size, (void)offset, (void)kind;
    return cudaSuccess;
}

/* Streams and events: numbers, since everything is done as soon as it is asked for. */

static void *new_handle(void) {
    static atomic_uintptr_t last = 4096;
    return (void *)(atomic_fetch_add(&last, 16) + 16);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    (void)flags, (void)priority;
    *stream = new_handle();
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    (void)stream;
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    (void)stream;
    return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    (void)stream;
    *priority = 0;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    (void)stream;
    record("synchronize", "cudaStreamSynchronize", 0, false);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    (void)stream, (void)event, (void)flags;
    record("stream wait", "cudaStreamWaitEvent", 0, false);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    (void)stream;
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                     unsigned long long *id, cudaGraph_t *graph, const cudaGraphNode_t **dependencies,
                                     const cudaGraphEdgeData **edges, size_t *dependency_count) {
    (void)stream, (void)id, (void)graph, (void)dependencies, (void)edges, (void)dependency_count;
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    (void)mode;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    (void)flags;
    *event = new_handle();
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
    (void)event, (void)stream, (void)flags;
    record("event", "cudaEventRecord", 0, false);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    (void)event;
    record("synchronize", "cudaEventSynchronize", 0, false);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    (void)start, (void)end;
    *milliseconds = 1.0f;
    return cudaSuccess;
}

/* The runtime hands out the driver's functions by name: driver.c has some, and the build generates the others. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result) {
    (void)version, (void)flags;
    *function = dlsym(RTLD_DEFAULT, symbol);
    if (result) *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
