/*
 * OpenBLAS chooses kernels by a list of processors. One that is younger than the list may get those
 * for the oldest: Debian 12's 0.3.21 gives Emerald Rapids (family 6, model 207) Prescott's, a fifth
 * of its speed.
 */
#include "compute/processor.h"

#include <stddef.h>
#include <strings.h>

/* The vectors that kernels use. */
typedef enum width { SSE, AVX, AVX2, AVX512 } width;

/*
 * The cores that builds for all processors know. One that is missing is younger than this table and
 * then fits. Bulldozer and those after it are missing on purpose: OpenBLAS gives their kernels,
 * with instructions of their own, to no other processor.
 */
static const struct {
    const char *name;
    width width;
} cores[] = {
    {"Prescott", SSE},          {"Atom", SSE},    {"Core2", SSE},       {"Penryn", SSE},
    {"Dunnington", SSE},        {"Nehalem", SSE}, {"Opteron", SSE},     {"Opteron_SSE3", SSE},
    {"Barcelona", SSE},         {"Bobcat", SSE},  {"Nano", SSE},        {"Sandybridge", AVX},
    {"Haswell", AVX2},          {"Zen", AVX2},    {"SkylakeX", AVX512}, {"Cooperlake", AVX512},
    {"SapphireRapids", AVX512},
};

awq__processor awq__processor_here(void)
{
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return (awq__processor){
        .avx2 = avx2,
        .avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"),
        .amd = __builtin_cpu_is("amd")};
#else
    return (awq__processor){0};
#endif
}

static bool has_width(const char *core, width *found)
{
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (!strcasecmp(cores[i].name, core)) {
            *found = cores[i].width;
            return true;
        }
    return false;
}

/*
 * Kernels for AVX2 are left where AVX-512 could be: some builds have no others, and they are at
 * most half as fast. SkylakeX is what every build with kernels for AVX-512 has; those of Cooperlake
 * and SapphireRapids differ from it in other types than F32, and 0.3.21 takes neither name.
 */
const char *awq__better_core(const awq__processor *processor, const char *core)
{
    width found;
    if (!processor->avx2 || !has_width(core, &found) || found >= AVX2)
        return NULL;
    if (processor->avx512)
        return "SkylakeX";
    return processor->amd ? "Zen" : "Haswell";
}

const char *awq__older_core(const char *core)
{
    width found;
    if (!has_width(core, &found) || found == SSE)
        return NULL;
    return found == AVX512 ? "Haswell" : found == AVX2 ? "Sandybridge" : "Nehalem";
}
