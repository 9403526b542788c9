/* Runs on a trained model beside measured references. */
#ifndef BENCH_QUALITY_H
#define BENCH_QUALITY_H

#include "awq/awq.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

#define QUALITY_OPTIONS 64

typedef struct quality {
    awq_context *ctx;
    const char *model;
    char output[64];
    const char *names[QUALITY_OPTIONS], *values[QUALITY_OPTIONS]; /* set on every recipe */
    int options;
} quality;

/* A row of reference.json. */
typedef struct quality_row {
    char bits[16], group[16]; /* bits "mx": MXFP4 */
    bool symmetric;
    const char *method; /* rtn, awq, awq+clip, gptq, awq+gptq */
    double kl;
} quality_row;

/* All of these print what is wrong and exit with 2. */
void quality_begin(quality *q, const char *plugins);
void quality_end(quality *q);
/* Takes NAME=VALUE apart; returns the value. text then ends after the name. */
const char *quality_split(char *text);
void quality_add(quality *q, const char *name, const char *value);
cJSON *quality_references(const char *model);
/* False for a row whose method or bits are none of this library's. */
bool quality_read(const cJSON *row, quality_row *read);
/* The KL of the model quantized as the row says, and the seconds it took. */
double quality_measure(const quality *q, const quality_row *row, double *seconds);

#endif
