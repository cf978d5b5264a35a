/* What the source files of the null CUDA device share. */
#ifndef NULL_CUDA_H
#define NULL_CUDA_H

#include <stdbool.h>
#include <stddef.h>

/* One thing that the device was asked for. tests/null_cuda/device.py declares the same structure. */
struct event {
    const char *kind;
    const char *name;
    size_t size; /* bytes of a copy, blocks of a kernel */
    bool pinned; /* whether the host's side of a copy is page-locked */
};

enum { COMPUTE_CAPABILITY_MAJOR = 9, COMPUTE_CAPABILITY_MINOR = 0, DRIVER_VERSION = 13000 };

#define MEMORY_SIZE (80ull << 30)

/* Appends one event to the log; any thread may call it. `kind` and `name` must live as long as the process. */
void record(const char *kind, const char *name, size_t size, bool pinned);

/* Records a function that the device does not have and says so once on standard error. Returns the error code of
   "operation not supported", which the runtime and the driver share. */
int not_supported(const char *function);

/* Checks a launch as CUDA does, against the limits of the device, and records it. Returns a cudaError_t. */
int record_launch(const char *kernel, const unsigned grid[3], const unsigned block[3], size_t shared_bytes);

/* Returns an attribute of the device: `attribute` is a cudaDeviceAttr or the CUdevice_attribute of the same number. */
int device_attribute(int attribute);

#endif
