/* Choosing a table. */
#include "compute/cpu.h"
#include "compute/processor.h"

#define MAX_TABLES 5

const awq__compute *const *awq__compute_all(void)
{
    static const awq__compute *tables[MAX_TABLES];
    int count = 0;
    tables[count++] = awq__compute_reference();
    tables[count++] = awq__compute_cpu_base();
#if defined(__x86_64__)
    awq__processor here = awq__processor_here();
    if (here.avx2)
        tables[count++] = awq__compute_cpu_avx2();
    if (here.avx512)
        tables[count++] = awq__compute_cpu_avx512();
#endif
    return tables;
}

const awq__compute *awq__compute_fastest(void)
{
#if defined(__x86_64__)
    awq__processor here = awq__processor_here();
    if (here.avx512)
        return awq__compute_cpu_avx512();
    if (here.avx2)
        return awq__compute_cpu_avx2();
#endif
    return awq__compute_cpu_base();
}

const awq__compute *awq__compute_of(const awq_context *ctx)
{
    const awq__compute *given = awq__context_compute(ctx);
    return given ? given : awq__compute_fastest();
}

void awq__compute_use(awq_context *ctx, const awq__compute *table)
{
    awq__context_set_compute(ctx, table);
}
