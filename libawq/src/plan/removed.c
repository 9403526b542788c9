/* Options of earlier versions, and values of options, that are no longer there. What each was worth
   is measured in tests/bench/README.md: the ratios are of the KL with it to the KL without. */
#include "awq/awq.h"

#include <string.h>

#define SINCE "0.2.0"
#define STORED_IN_4 "codes of 3 bits were stored in 4, so that nothing was gained"

static const awq_removed_option removed[] = {
    {"quantize.search", "", SINCE,
     "scales are searched by second moments; by the output of the experts KL was 1.001 times as "
     "large, and it took many times as long"},
    {"quantize.search_finalists", "", SINCE,
     "with the best ratios compared by the output of the experts KL was 1.002 times as large"},
    {"quantize.search_tokens", "", SINCE, "no search goes by the output of the experts any more"},
    {"quantize.gate_up_scale", "", SINCE,
     "the experts of a layer share one input scale, which the norm takes; with joined KL was 1.000 "
     "times as large, and what expert stored, for 0.997 times, no engine reads"},
    {"quantize.scale_rounding", "", SINCE,
     "scales are rounded to what the norm can store; with powers of two KL was 1.152 times as "
     "large, without rounding 1.000 times"},
    {"quantize.clip_ends", "", SINCE,
     "each end of a range is moved by itself; with both together KL was 1.027 times as large"},
    {"quantize.token_weights", "", SINCE,
     "a token counts by the weight that the router gives it; with all alike KL was 1.007 times as "
     "large"},
    {"quantize.row_weights", "", SINCE,
     "an error counts by what it does to the output of the expert; with all alike KL was 1.000 "
     "times as large"},
    {"quantize.bits", "3", SINCE, STORED_IN_4},
    {"bits", "3", SINCE, STORED_IN_4},
    {"format", "modelopt", SINCE, "no engine loads experts that are stored so"},
};

const awq_removed_option *awq_option_removed(const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof removed / sizeof *removed && name; i++)
        if (!strcmp(removed[i].name, name) &&
            (!removed[i].value[0] || (value && !strcmp(removed[i].value, value))))
            return &removed[i];
    return NULL;
}
