/* cuBLAS, cuSOLVER and cuDNN: the functions that return something. The build generates the others from their names. */
#include <cudnn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "null_cuda.h"

enum { DESCRIPTOR_SIZE = 256, HEURISTIC_RESULT_SIZE = 96 };

/* cuBLAS, without its headers: they need a part of the CUDA toolkit that no wheel of torch brings. A status of 0 is
   success. Every handle and descriptor is the address of one variable, because nothing is kept in them. */

static char cublas_object;

static int cublas_create(void **object) {
    *object = &cublas_object;
    return 0;
}

int cublasCreate_v2(void **handle) { return cublas_create(handle); }

int cublasGetMathMode(void *handle, int *mode) {
    (void)handle;
    *mode = 0;
    return 0;
}

int cublasGetPointerMode_v2(void *handle, int *mode) {
    (void)handle;
    *mode = 0; /* scalars lie in host memory */
    return 0;
}

size_t cublasLtGetVersion(void) { return 130100; }

int cublasLtMatmulDescCreate(void **descriptor, int compute_type, int scale_type) {
    (void)compute_type, (void)scale_type;
    return cublas_create(descriptor);
}

int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading_dimension) {
    (void)type, (void)rows, (void)columns, (void)leading_dimension;
    return cublas_create(layout);
}

int cublasLtMatmulPreferenceCreate(void **preference) { return cublas_create(preference); }

/* Finds one algorithm that needs no workspace: a cublasLtMatmulHeuristicResult_t of zeros. */
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d,
                                   void *preference, int requested, void *results, int *found) {
    (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference, (void)requested;
    memset(results, 0, HEURISTIC_RESULT_SIZE);
    *found = 1;
    return 0;
}

/* cuSOLVER, without its headers as well */

int cusolverDnCreate(void **handle) { return cublas_create(handle); }

static int no_workspace(int *size) {
    *size = 0;
    return 0;
}

int cusolverDnSgetrf_bufferSize(void *handle, int rows, int columns, void *a, int leading_dimension, int *size) {
    (void)handle, (void)rows, (void)columns, (void)a, (void)leading_dimension;
    return no_workspace(size);
}

int cusolverDnDgetrf_bufferSize(void *handle, int rows, int columns, void *a, int leading_dimension, int *size) {
    (void)handle, (void)rows, (void)columns, (void)a, (void)leading_dimension;
    return no_workspace(size);
}

/* cuDNN */

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    static char the_handle;
    *handle = (cudnnHandle_t)&the_handle;
    return CUDNN_STATUS_SUCCESS;
}

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }

size_t cudnnGetCudartVersion(void) { return DRIVER_VERSION; }

cudnnStatus_t cudnnGetProperty(libraryPropertyType type, int *value) {
    *value = type == MAJOR_VERSION ? CUDNN_MAJOR : type == MINOR_VERSION ? CUDNN_MINOR : CUDNN_PATCHLEVEL;
    return CUDNN_STATUS_SUCCESS;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS" : "an error of the null CUDA device";
}

void cudnnGetLastErrorString(char *message, size_t size) {
    if (size) *message = 0;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    (void)handle;
    *stream = NULL;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t create_descriptor(void **descriptor) {
    *descriptor = calloc(1, DESCRIPTOR_SIZE);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *descriptor) {
    return create_descriptor((void **)descriptor);
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t descriptor) {
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *descriptor) {
    return create_descriptor((void **)descriptor);
}

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t descriptor) {
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *descriptor) {
    return create_descriptor((void **)descriptor);
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t descriptor) {
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t *descriptor) {
    return create_descriptor((void **)descriptor);
}

cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t descriptor) {
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

/* Convolutions go through the graph API. A search for engines finds one; all other attributes are 0. */

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor) {
    (void)type;
    return create_descriptor(descriptor);
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested, int64_t *count,
                                       void *elements) {
    (void)descriptor, (void)name;
    if (type == CUDNN_TYPE_INT64 && requested && elements) *(int64_t *)elements = 0;
    if (count) *count = 1;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t operations, const cudnnTensorDescriptor_t x,
    const cudnnTensorDescriptor_t z, const cudnnTensorDescriptor_t y, const cudnnTensorDescriptor_t parameters,
    const cudnnActivationDescriptor_t activation, size_t *size) {
    (void)handle, (void)mode, (void)operations, (void)x, (void)z, (void)y, (void)parameters, (void)activation;
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t operations, const cudnnTensorDescriptor_t x,
    const cudnnTensorDescriptor_t y, const cudnnTensorDescriptor_t grad_y, const cudnnTensorDescriptor_t grad_z,
    const cudnnTensorDescriptor_t grad_x, const cudnnTensorDescriptor_t grad_parameters,
    const cudnnActivationDescriptor_t activation, size_t *size) {
    (void)handle, (void)mode, (void)operations, (void)x, (void)y, (void)grad_y, (void)grad_z, (void)grad_x;
    (void)grad_parameters, (void)activation;
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationTrainingExReserveSpaceSize(cudnnHandle_t handle, cudnnBatchNormMode_t mode,
                                                                   cudnnBatchNormOps_t operations,
                                                                   const cudnnActivationDescriptor_t activation,
                                                                   const cudnnTensorDescriptor_t x, size_t *size) {
    (void)handle, (void)mode, (void)operations, (void)activation, (void)x;
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}
