/* Blocks of GGUF as numbers. */
#include "compute/blocks.h"
#include "core/half.h"

#include <string.h>

const awq__block_type *awq__block_type_of(awq__ggml id)
{
    for (int i = 0; i < awq__block_type_count; i++)
        if (awq__block_types[i].id == id)
            return &awq__block_types[i];
    return NULL;
}

const awq__block_type *awq__block_type_by_name(const char *name)
{
    const awq__ggml_type *type = awq__ggml_type_by_name(name);
    return type ? awq__block_type_of(type->id) : NULL;
}

awq__scheme awq__block_scheme(const awq__block_type *type)
{
    int bits = 0;
    while (1 << bits < type->codes)
        bits++;
    return (awq__scheme){.code = type->kind == AWQ__RUN_E8M0 ? AWQ__CODE_E2M1 : AWQ__CODE_INTEGER,
                         .bits = bits,
                         .group = type->run,
                         .symmetric = !type->has_min,
                         .grid = type->kind == AWQ__RUN_PLAIN ? AWQ__GRID_F16 : AWQ__GRID_F32,
                         .blocks = type};
}

/* 2^(e - 128): half of what E8M0 means. The least are subnormal. */
static float half_of_e8m0(int e)
{
    return awq__f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of an E4M3. The sign is not looked at, and 0x7f is 0, both as in ggml. */
static float half_of_ue4m3(int byte)
{
    int exponent = byte >> 3 & 15, mantissa = byte & 7;
    if (byte == 0 || byte == 0x7f)
        return 0;
    if (!exponent)
        return (float)mantissa * 0x1p-10f;
    return (1 + (float)mantissa / 8) * awq__f32_from_bits((uint32_t)(exponent - 8 + 127) << 23);
}

float awq__block_scale(awq__run_scale kind, float d, int number)
{
    switch (kind) {
    case AWQ__RUN_E8M0:
        return half_of_e8m0(number);
    case AWQ__RUN_UE4M3:
        return half_of_ue4m3(number);
    case AWQ__RUN_TIMES:
        return d * (float)number;
    default:
        return d;
    }
}

void awq__block_scales(const awq__block_type *type, const awq__ggml_block *block,
                       float scales[AWQ__BLOCK_RUNS], float mins[AWQ__BLOCK_RUNS])
{
    float d = awq__f16_to_f32(block->d), dmin = awq__f16_to_f32(block->dmin);
    int runs = type->block / type->run;
    for (int run = 0; run < runs; run++)
        scales[run] = awq__block_scale(type->kind, d, block->scale[run]);
    for (int run = 0; run < runs; run++)
        mins[run] = !type->has_min                 ? 0
                    : type->kind == AWQ__RUN_TIMES ? dmin * (float)block->min[run]
                                                   : -dmin;
}

float awq__block_value(const awq__block_type *type, int code)
{
    return type->values ? type->values[code] : (float)(code - type->zero);
}

/* Loops of their own, so that each vectorizes. Where there is no min nothing is subtracted: -0
   stays. */
static void decode_run(const awq__block_type *type, const uint8_t *codes, float scale, float min,
                       float *out)
{
    if (type->values)
        for (int i = 0; i < type->run; i++)
            out[i] = scale * type->values[codes[i]];
    else
        for (int i = 0; i < type->run; i++)
            out[i] = scale * (float)(codes[i] - type->zero);
    if (type->has_min)
        for (int i = 0; i < type->run; i++)
            out[i] -= min;
}

void awq__blocks_decode(const awq__block_type *type, int64_t count, const uint8_t *bytes,
                        float *out)
{
    awq__ggml_block block;
    float scales[AWQ__BLOCK_RUNS], mins[AWQ__BLOCK_RUNS];
    for (int64_t b = 0; b < count; b++, bytes += type->bytes) {
        type->unpack(bytes, &block);
        awq__block_scales(type, &block, scales, mins);
        for (int run = 0; run < type->block / type->run; run++, out += type->run)
            decode_run(type, block.codes + run * type->run, scales[run], mins[run], out);
    }
}
