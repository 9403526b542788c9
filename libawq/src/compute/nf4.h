/*
 * NF4: 16 quantiles of a normal distribution, as shares of a group's largest magnitude (Dettmers et
 * al., arXiv 2305.14314). Which of two a weight becomes is decided where readers of the format do
 * it, at the middle between them as F32 has it.
 */
#ifndef AWQ__NF4_H
#define AWQ__NF4_H

#include <math.h>
#include <stdint.h>

#define AWQ__NF4_CODES 16
#define AWQ__NF4_GROUP 64

/* In the header, so that loops over them unroll. */
static const float awq__nf4[AWQ__NF4_CODES] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};
/* A share above number i is not code i but a higher one. */
static const float awq__nf4_limits[AWQ__NF4_CODES - 1] = {
    -0.8480964004993439f,  -0.6106329262256622f,  -0.4599952697753906f,   -0.33967943489551544f,
    -0.23460740596055984f, -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f,
    0.1202552504837513f,   0.2035212516784668f,   0.2920137718319893f,    0.3893125355243683f,
    0.5016634166240692f,   0.6427869200706482f,   0.8614784181118011f,
};

/* By which a weight is multiplied to be a share of the scale; 0 for scales that have no inverse.
   A scale that is stored as a code beside others may be negative. */
static inline float awq__nf4_inverse(float scale)
{
    return fabsf(scale) >= 0x1p-126f ? 1 / scale : 0;
}

/* The code of a share; NaN is code 0. */
static inline uint8_t awq__nf4_code(float share)
{
    int code = 0;
    for (int i = 0; i < AWQ__NF4_CODES - 1; i++)
        code += share > awq__nf4_limits[i];
    return (uint8_t)code;
}

/* What the code of a share stands for. */
static inline float awq__nf4_value(float share)
{
    float value = awq__nf4[0];
    for (int i = 0; i < AWQ__NF4_CODES - 1; i++)
        value = share > awq__nf4_limits[i] ? awq__nf4[i + 1] : value;
    return value;
}

#endif
