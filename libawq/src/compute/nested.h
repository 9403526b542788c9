/* Scales of groups that are stored as codes of 8 bits themselves, all those of a matrix together.
 */
#ifndef AWQ__NESTED_H
#define AWQ__NESTED_H

#include <stdint.h>

#define AWQ__NESTED_GROUP 256 /* codes that share a scale */
#define AWQ__NESTED_CODES 256

/* Scale number i of a matrix is map[codes[i]] * scales[i / AWQ__NESTED_GROUP] + offset. */
typedef struct awq__nested {
    uint8_t *codes;
    float *scales;
    float offset;
} awq__nested;

static inline int64_t awq__nested_groups(int64_t count)
{
    return (count + AWQ__NESTED_GROUP - 1) / AWQ__NESTED_GROUP;
}

/*
 * What the codes stand for, rising: the "dynamic" data type of 8 bits with a sign (Dettmers, arXiv
 * 1511.04561). For each i from 0 to 6, the range from 0.1 to 1 is cut into 2^i parts. Their middles
 * times 10^(i-6), with both signs, are values; so are 0 and 1.
 */
void awq__nested_map(float map[AWQ__NESTED_CODES]);

/* Rounds scales[count] to codes, and sets them to the values that are stored. The offset is their
   mean. The scale of a group is the largest difference from the offset in it. Each difference gets
   the nearest code. The arrays of *nested exist already. */
void awq__nested_quantize(int64_t count, float *scales, awq__nested *nested);

#endif
