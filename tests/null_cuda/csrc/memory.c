/* Memory of the device and page-locked memory, both the host's, and copies between them. */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "null_cuda.h"

enum { MAX_ALLOCATIONS = 1 << 16 };

struct allocation {
    char *address; /* NULL in a free slot */
    size_t size;
    enum cudaMemoryType type;
};

static struct allocation allocations[MAX_ALLOCATIONS];
static int used_slots; /* the slots below this number have been in use */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int free_slot(void) {
    for (int i = 0; i < used_slots; i++) {
        if (!allocations[i].address) return i;
    }
    if (used_slots == MAX_ALLOCATIONS) {
        fprintf(stderr, "null CUDA device: more than %d allocations\n", MAX_ALLOCATIONS);
        abort();
    }
    return used_slots++;
}

static struct allocation *allocation_around(const void *pointer) {
    for (int i = 0; i < used_slots; i++) {
        struct allocation *allocation = &allocations[i];
        uintptr_t offset = (uintptr_t)pointer - (uintptr_t)allocation->address;
        if (allocation->address && offset < allocation->size) return allocation;
    }
    return NULL;
}

static cudaError_t allocate(void **pointer, size_t size, enum cudaMemoryType type, const char *function) {
    if (!size) {
        *pointer = NULL;
        return cudaSuccess;
    }
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *address = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (address == MAP_FAILED) return cudaErrorMemoryAllocation;
    pthread_mutex_lock(&lock);
    allocations[free_slot()] = (struct allocation){address, size, type};
    pthread_mutex_unlock(&lock);
    record("allocate", function, size, type == cudaMemoryTypeHost);
    *pointer = address;
    return cudaSuccess;
}

static cudaError_t release(void *pointer, const char *function) {
    if (!pointer) return cudaSuccess;
    pthread_mutex_lock(&lock);
    struct allocation *allocation = allocation_around(pointer);
    bool found = allocation && allocation->address == pointer;
    if (found) {
        munmap(allocation->address, allocation->size);
        allocation->address = NULL;
    }
    pthread_mutex_unlock(&lock);
    record("free", function, 0, false);
    return found ? cudaSuccess : cudaErrorInvalidValue;
}

static enum cudaMemoryType memory_type(const void *pointer) {
    pthread_mutex_lock(&lock);
    struct allocation *allocation = allocation_around(pointer);
    enum cudaMemoryType type = allocation ? allocation->type : cudaMemoryTypeUnregistered;
    pthread_mutex_unlock(&lock);
    return type;
}

cudaError_t cudaMalloc(void **pointer, size_t size) {
    return allocate(pointer, size, cudaMemoryTypeDevice, "cudaMalloc");
}

cudaError_t cudaHostAlloc(void **pointer, size_t size, unsigned flags) {
    (void)flags;
    return allocate(pointer, size, cudaMemoryTypeHost, "cudaHostAlloc");
}

cudaError_t cudaFree(void *pointer) { return release(pointer, "cudaFree"); }

cudaError_t cudaFreeHost(void *pointer) { return release(pointer, "cudaFreeHost"); }

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    *available = *total = MEMORY_SIZE;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer) {
    enum cudaMemoryType type = memory_type(pointer);
    *attributes = (struct cudaPointerAttributes){.type = type};
    if (type != cudaMemoryTypeUnregistered) attributes->devicePointer = (void *)pointer;
    if (type == cudaMemoryTypeHost) attributes->hostPointer = (void *)pointer;
    return cudaSuccess;
}

static cudaError_t copy(void *to, const void *from, size_t size, const char *function) {
    enum cudaMemoryType to_type = memory_type(to), from_type = memory_type(from);
    bool to_device = to_type == cudaMemoryTypeDevice, from_device = from_type == cudaMemoryTypeDevice;
    if (to_device && from_device) {
        record("device copy", function, size, false);
    } else if (to_device) {
        record("upload", function, size, from_type == cudaMemoryTypeHost);
    } else if (from_device) {
        record("download", function, size, to_type == cudaMemoryTypeHost);
    } else {
        record("host copy", function, size, false);
    }
    memmove(to, from, size);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
    (void)kind, (void)stream;
    return copy(to, from, size, "cudaMemcpyAsync");
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
    (void)kind;
    record("synchronize", "cudaMemcpy", 0, false);
    return copy(to, from, size, "cudaMemcpy");
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t size, cudaStream_t stream) {
    (void)stream;
    record("memset", "cudaMemsetAsync", size, false);
    memset(pointer, value, size);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *pointer, int value, size_t size) { return cudaMemsetAsync(pointer, value, size, NULL); }
