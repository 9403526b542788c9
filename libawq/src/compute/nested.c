#include "compute/nested.h"
#include "core/core.h"

#include <math.h>

#define DECADES 7
#define MAGNITUDES 127 /* 1 + 2 + ... + 64 */

/* Part i of n of the range from 0.1 to 1: from the nearer end, as readers that make the map have
   it, in F32. */
static float boundary(int i, int n)
{
    const float step = (1.0f - 0.1f) / (float)n;
    return i < (n + 1) / 2 ? 0.1f + step * (float)i : 1.0f - step * (float)(n - i);
}

void awq__nested_map(float map[AWQ__NESTED_CODES])
{
    static const float powers[DECADES] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    float *positive = map + MAGNITUDES + 1;
    int count = 0;
    /* Each decade lies above the one before it, so that they come out rising. */
    for (int decade = 0; decade < DECADES; decade++) {
        int n = 1 << decade;
        for (int i = 0; i < n; i++) {
            float middle = (boundary(i, n) + boundary(i + 1, n)) / 2;
            positive[count++] = powers[decade] * middle;
        }
    }
    map[MAGNITUDES] = 0;
    for (int i = 0; i < MAGNITUDES; i++)
        map[MAGNITUDES - 1 - i] = -positive[i];
    positive[MAGNITUDES] = 1;
}

/* The code of the value nearest to x, the lower of two. */
static uint8_t nearest(const float map[AWQ__NESTED_CODES], float x)
{
    int below = 0, above = AWQ__NESTED_CODES - 1;
    while (above - below > 1) {
        int middle = (below + above) / 2;
        if (map[middle] <= x)
            below = middle;
        else
            above = middle;
    }
    return (uint8_t)(x - map[below] <= map[above] - x ? below : above);
}

void awq__nested_quantize(int64_t count, float *scales, awq__nested *nested)
{
    float map[AWQ__NESTED_CODES];
    double sum = 0;
    awq__nested_map(map);
    for (int64_t i = 0; i < count; i++)
        sum += (double)scales[i];
    nested->offset = (float)(sum / (double)count);
    for (int64_t first = 0; first < count; first += AWQ__NESTED_GROUP) {
        int64_t end = awq__min(first + AWQ__NESTED_GROUP, count);
        float largest = 0;
        for (int64_t i = first; i < end; i++)
            largest = fmaxf(largest, fabsf(scales[i] - nested->offset));
        nested->scales[first / AWQ__NESTED_GROUP] = largest;
        for (int64_t i = first; i < end; i++) {
            float share = largest > 0 ? (scales[i] - nested->offset) / largest : 0;
            nested->codes[i] = nearest(map, share);
            scales[i] = map[nested->codes[i]] * largest + nested->offset;
        }
    }
}
