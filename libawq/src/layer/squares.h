/* Mean squares of what the linears of a layer read. */
#ifndef AWQ__SQUARES_H
#define AWQ__SQUARES_H

#include "layer/quantize.h"

/* Who is told of a linear: squares[K] of its input, over so many tokens. */
typedef struct awq__squares {
    awq_status (*see)(void *user, const awq__module *module, const float *squares, int64_t tokens);
    void *user;
} awq__squares;
/* As awq__quantize_attention and awq__quantize_experts, with nothing but the statistics. Modules
   need a treatment that calibrates; its groups tell how large blocks of the second moments are
   exact. */
awq_status awq__attention_squares(awq__quantizer *quantizer, const awq__layer *layer,
                                  const awq__squares *squares);
awq_status awq__experts_squares(awq__quantizer *quantizer, const awq__layer *layer,
                                const awq__routes *routes, const awq__squares *squares);

#endif
