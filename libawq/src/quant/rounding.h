/* Rounding of floats to whole numbers, for what goes by columns of GPTQ. */
#ifndef AWQ__ROUNDING_H
#define AWQ__ROUNDING_H

static inline float awq__clamp(float value, float low, float high)
{
    return value > low ? value < high ? value : high : low; /* NaN gives low */
}

/* Nearest integer, ties to even, for |x| < 2^22. */
static inline float awq__round_even(float x)
{
    const float magic = 0x1.8p23f;
    return (x + magic) - magic;
}

#endif
