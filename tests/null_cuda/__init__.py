"""A CUDA device that computes nothing, to run CUDA's code paths on a machine without a GPU.

A library of a few hundred lines of C takes the place of CUDA's driver and runtime, cuBLAS and cuDNN. Memory of the
device is host memory, and kernels are recorded by name and not run. Everything of torch that runs on the host is
torch's own: the checks of arguments and devices, the choice of kernels, the caching allocator, streams, autograd's
threads, DistributedDataParallel, and the compiler, whose kernels ptxas compiles.

It shows errors of the host's code, synchronisations, copies and the number of launches. It shows no values, no times,
no errors of a kernel or of the real cuDNN, which may also launch more than one kernel for a convolution, nothing of
NCCL, and no CUDA graphs.
"""
