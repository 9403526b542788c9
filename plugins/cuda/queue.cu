/* Streams with their libraries. */
#include "inside.h"

#include <stdlib.h>

const char *awq__cuda_error_text(int error)
{
    if (error == AWQ__CUDA_UNSERVED)
        return "a shape that no kernel serves";
    if (error >= AWQ__CUDA_SOLVER_BASE)
        return "a failure of cuSOLVER";
    if (error >= AWQ__CUDA_BLAS_BASE)
        return cublasGetStatusString((cublasStatus_t)(error - AWQ__CUDA_BLAS_BASE));
    return cudaGetErrorString((cudaError_t)error);
}

/* One work space of one size: with it, cuBLAS gives the same bits each time. */
static int begin_blas(awq__cuda_queue *queue)
{
    CHECK(cudaMalloc(&queue->blas_space, QUEUE_BLAS_BYTES));
    CHECK(blas_error(cublasCreate(&queue->blas)));
    CHECK(blas_error(cublasSetStream(queue->blas, queue->stream)));
    CHECK(blas_error(cublasSetWorkspace(queue->blas, queue->blas_space, QUEUE_BLAS_BYTES)));
    return blas_error(cublasSetAtomicsMode(queue->blas, CUBLAS_ATOMICS_NOT_ALLOWED));
}

static int begin(awq__cuda_queue *queue)
{
    queue->known = (algorithms *)calloc(1, sizeof *queue->known);
    if (!queue->known)
        return (int)cudaErrorMemoryAllocation;
    CHECK(cudaStreamCreateWithFlags(&queue->stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc((void **)&queue->sums, QUEUE_SUM_BYTES));
    CHECK(begin_blas(queue));
    CHECK(solver_error(cusolverDnCreate(&queue->solver)));
    CHECK(solver_error(cusolverDnSetStream(queue->solver, queue->stream)));
    return solver_error(
        cusolverDnSetDeterministicMode(queue->solver, CUSOLVER_DETERMINISTIC_RESULTS));
}

int awq__cuda_queue_create(awq__cuda_queue **queue)
{
    *queue = (awq__cuda_queue *)calloc(1, sizeof **queue);
    if (!*queue)
        return (int)cudaErrorMemoryAllocation;
    int error = begin(*queue);
    if (error) {
        awq__cuda_queue_free(*queue);
        *queue = NULL;
    }
    return error;
}

void awq__cuda_queue_free(awq__cuda_queue *queue)
{
    if (!queue)
        return;
    if (queue->stream)
        cudaStreamSynchronize(queue->stream);
    if (queue->solver)
        cusolverDnDestroy(queue->solver);
    if (queue->blas)
        cublasDestroy(queue->blas);
    cudaFree(queue->blas_space);
    cudaFree(queue->sums);
    if (queue->stream)
        cudaStreamDestroy(queue->stream);
    free(queue->known);
    free(queue);
}

cudaStream_t awq__cuda_queue_stream(const awq__cuda_queue *queue)
{
    return queue->stream;
}
