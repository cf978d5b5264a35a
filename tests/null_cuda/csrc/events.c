/* The log of everything that the device was asked for. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "null_cuda.h"

enum { MAX_EVENTS = 1 << 20, NOT_SUPPORTED = 801 };

static struct event events[MAX_EVENTS];
static atomic_int event_count;

void record(const char *kind, const char *name, size_t size, bool pinned) {
    int index = atomic_fetch_add(&event_count, 1);
    if (index >= MAX_EVENTS) {
        fprintf(stderr, "null CUDA device: more than %d events without a reset\n", MAX_EVENTS);
        abort();
    }
    events[index] = (struct event){kind, name, size, pinned};
}

int not_supported(const char *function) {
    fprintf(stderr, "null CUDA device: %s is not implemented\n", function);
    record("not supported", function, 0, false);
    return NOT_SUPPORTED;
}

/* Called by tests/null_cuda/device.py. */

void null_cuda_reset(void) { atomic_store(&event_count, 0); }

int null_cuda_count(void) { return atomic_load(&event_count); }

const struct event *null_cuda_events(void) { return events; }
