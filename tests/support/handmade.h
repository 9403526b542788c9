/*
 * A model of one layer, made by a test, whose attention adds nothing, and what its experts do by
 * the formulas alone, in double precision: what a run says of a layer can be computed beside it.
 *
 * Each token of the vocabulary is calibrated with once, in order: token t has the hidden state
 * embedding[t]. All of it is F32.
 */
#ifndef HANDMADE_H
#define HANDMADE_H

#include "core/core.h"

enum { MADE_H = 32, MADE_I = 32, MADE_E = 4, MADE_T = 96 };

typedef struct handmade {
    int per_token;
    float embedding[MADE_T][MADE_H], norm[MADE_H], router[MADE_E][MADE_H];
    /* Of each expert: gate and up [I,H], and down [H,I]. */
    float gate_up[MADE_E][2][MADE_I][MADE_H], down[MADE_E][MADE_H][MADE_I];
} handmade;

/* Random, with an outlier channel in the norm, and two experts a token. */
void handmade_draw(handmade *m, uint64_t seed);
/* An expert that no token chooses: channel 0 of every hidden state becomes 4, and the expert's
   logit falls with it. */
void handmade_starve(handmade *m, int expert);
/* Writes the model, and its ids to `ids`/model.safetensors. */
awq_status handmade_write(awq_context *ctx, const char *directory, const char *ids,
                          const handmade *m);

/* ---- what the layer does ---- */

typedef struct handmade_pass {
    double x[MADE_T][MADE_H]; /* what router and experts read */
    double logits[MADE_T][MADE_E];
    double weight[MADE_T][MADE_E]; /* 0: not routed to it */
    double mean_weight;            /* of those that are routed */
} handmade_pass;

void handmade_run(const handmade *m, handmade_pass *pass);
/* Of the hidden states after the layer, over all tokens. */
double handmade_square(const handmade *m, const handmade_pass *pass);

/* Tokens with what each counts. */
typedef struct handmade_tokens {
    int count, routed, index[MADE_T];
    double weight[MADE_T];
} handmade_tokens;

/* An expert's own, then, until there are `least`, those that came nearest to it by their logits (or
   farthest), which count the mean weight. */
void handmade_list(const handmade_pass *pass, int expert, int least, bool farthest,
                   handmade_tokens *list);

/* ---- what rounding does to it ---- */

typedef struct handmade_rounded {
    float gate_up[2][MADE_I][MADE_H], down[MADE_H][MADE_I];
} handmade_rounded;

/* To so many bits in groups of 32 with zero points and scales of F16. scale [H] of the columns of
   gate and up, NULL for none, is taken out again. */
void handmade_round(awq_context *ctx, const handmade *m, int expert, int bits, const double *scale,
                    handmade_rounded *rounded);
/* Squared error of the expert's output over the tokens, each counting 1. */
double handmade_output_error(const handmade *m, int expert, const handmade_pass *pass,
                             const handmade_tokens *list, const handmade_rounded *rounded);
/* Squared errors of the outputs of gate and up over the tokens, times what each output does to the
   expert's: the mean squared derivative of its activation times its column of down, squared. */
double handmade_gate_up_loss(const handmade *m, int expert, const handmade_pass *pass,
                             const handmade_tokens *list, const handmade_rounded *rounded);
/* Squared errors of the outputs of down over the tokens. */
double handmade_down_loss(const handmade *m, int expert, const handmade_pass *pass,
                          const handmade_tokens *list, const handmade_rounded *rounded);

#endif
