/* Preloaded into a process: below the folder FAULT_BELOW, what changes a disk is counted and written to FAULT_LOG; call
 * number FAULT_AT fails with errno FAULT_ERRNO, or, with FAULT_SIGNAL, the process is sent that signal just before it.
 * FAULT_SLOW milliseconds are slept before each flush. Everything is read from the environment at each call, so that a
 * forked process can be given its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int calls = 0;

static int number_of(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

/* The path that a descriptor, or a name relative to one, stands for. */
static void resolve(int folder, const char *name, char *path) {
    char link[64], base[PATH_MAX] = "";
    if (name && name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, base, sizeof base - 1);
    base[length < 0 ? 0 : length] = 0;
    snprintf(path, PATH_MAX, name ? "%.2000s/%.2000s" : "%.2000s", base, name);
}

/* Whether this call is to fail; errno is set then. */
static int strikes(const char *what, int folder, const char *name) {
    const char *below = getenv("FAULT_BELOW"), *log = getenv("FAULT_LOG");
    char path[PATH_MAX], line[PATH_MAX + 64];
    if (!below || !*below) return 0;
    int saved = errno;
    resolve(folder, name, path);
    errno = saved;
    if (strncmp(path, below, strlen(below)) != 0) return 0;
    int number = __sync_add_and_fetch(&calls, 1);
    if (log) {
        static int (*real_open)(const char *, int, ...);
        static ssize_t (*real_write)(int, const void *, size_t);
        if (!real_open) real_open = dlsym(RTLD_NEXT, "open");
        if (!real_write) real_write = dlsym(RTLD_NEXT, "write");
        int out = real_open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        int length = snprintf(line, sizeof line, "%d %s %s\n", number, what, path + strlen(below));
        if (real_write(out, line, length) < 0) abort();
        close(out);
    }
    if (number_of("FAULT_SLOW") && strcmp(what, "fsync") == 0) usleep(1000 * number_of("FAULT_SLOW"));
    errno = saved;
    if (number != number_of("FAULT_AT")) return 0;
    if (number_of("FAULT_SIGNAL")) {
        kill(getpid(), number_of("FAULT_SIGNAL"));
        return 0;
    }
    errno = number_of("FAULT_ERRNO");
    return 1;
}

#define REAL(type, name, ...)                                      \
    static type (*real)(__VA_ARGS__);                              \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int is_for_writing(int flags) { return (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0; }

#define OPEN(symbol)                                                                     \
    int symbol(const char *path, int flags, ...) {                                       \
        REAL(int, #symbol, const char *, int, ...);                                      \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        int mode = va_arg(rest, int);                                                    \
        va_end(rest);                                                                    \
        if (is_for_writing(flags) && strikes("open", AT_FDCWD, path)) return -1;         \
        return real(path, flags, mode);                                                  \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int file, const void *content, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return strikes("write", file, NULL) ? -1 : real(file, content, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return strikes("write", file, NULL) ? -1 : real(file, parts, count);
}

int fsync(int file) {
    REAL(int, "fsync", int);
    return strikes("fsync", file, NULL) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return strikes("rename", AT_FDCWD, to) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return strikes("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return strikes("unlink", AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return strikes("unlink", folder, path) ? -1 : real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    return strikes("rmdir", AT_FDCWD, path) ? -1 : real(path);
}
