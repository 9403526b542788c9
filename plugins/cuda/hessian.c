/* GPTQ as an operation of a device: where a factorized Hessian has its parts. */
#include "device.h"

#define DID(call, what) awq__cuda_did(d, (call), (what))

/* At the beginning of a Hessian's bytes lie these arrays, one after the other. */
typedef struct hessian {
    awq__cuda_gptq gptq; /* gram NULL */
    float *raw;          /* [K] the diagonal without damping */
    int *failed;
} hessian;

static size_t cut(int64_t K, int64_t g, void *space, hessian *h)
{
    size_t column = (size_t)K * sizeof(float), blocks = awq__cuda_gptq_blocks_bytes(K, g);
    size_t sizes[] = {column * (size_t)K,          blocks,     blocks, column, column, column,
                      sizeof(int32_t) * (size_t)K, sizeof(int)};
    char *parts[8] = {0};
    size_t at = 0;
    for (int i = 0; i < 8; i++) {
        parts[i] = space ? (char *)space + at : NULL;
        at += (sizes[i] + 255) / 256 * 256;
    }
    *h = (hessian){.gptq = {.cols = K,
                            .group = g,
                            .factor = (float *)(void *)parts[0],
                            .blocks = (float *)(void *)parts[1],
                            .halves = (float *)(void *)parts[2],
                            .pivots = (float *)(void *)parts[3],
                            .curves = (float *)(void *)parts[4],
                            .order = (int32_t *)(void *)parts[6]},
                   .raw = (float *)(void *)parts[5],
                   .failed = (int *)(void *)parts[7]};
    return at;
}

size_t awq__cuda_hessian_bytes(void *device, int64_t K, int64_t g)
{
    hessian h;
    (void)device;
    return cut(K, g, NULL, &h);
}

bool awq__cuda_factorize(void *device, int64_t K, int64_t g, const int32_t *order, double damping,
                         double mean, bool again, float *gram, void *space)
{
    awq__cuda_device *d = device;
    int failed = 1;
    hessian h;
    cut(K, g, space, &h);
    h.gptq.gram = gram;
    if (!again)
        awq__cuda_upload(d, h.gptq.order, order, (size_t)K * sizeof *order);
    void *work = awq__cuda_work(d, awq__cuda_gptq_factor_bytes(d->queue, &h.gptq));
    if (!d->error)
        DID(awq__cuda_gptq_factor(d->queue, &h.gptq, damping, mean, again, h.raw, work, h.failed),
            "factors of a Hessian");
    awq__cuda_release(d, work);
    awq__cuda_download(d, &failed, h.failed, sizeof failed);
    return !d->error && failed == 0;
}

void awq__cuda_round_by_gptq(void *device, const void *space, const awq__cuda_weight *weight,
                             const awq__cuda_scheme *scheme, int ranges, int sweeps, uint8_t *codes,
                             float *scales, uint8_t *zeros)
{
    awq__cuda_device *d = device;
    hessian h;
    cut(weight->cols, scheme->group, (void *)(uintptr_t)space, &h);
    void *work = awq__cuda_work(d, awq__cuda_gptq_bytes(&h.gptq, weight->rows));
    if (!d->error)
        DID(awq__cuda_gptq_round(d->queue, &h.gptq, scheme, ranges, sweeps, false, weight, work,
                                 codes, scales, zeros),
            "GPTQ");
    awq__cuda_release(d, work);
}
