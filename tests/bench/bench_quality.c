/*
 * What quantization does to trained models, beside measured references: for each row of a model's
 * reference.json (scheme and method, with its KL on eval_ids.safetensors) the same with this
 * library, calibrated on calib_ids.safetensors.
 *
 *   bench_quality PLUGIN_DIR MODEL_DIR [OPTION=VALUE...]
 *
 * OPTION=VALUE is set on every recipe after what the row says; bits=, group= and
 * method= choose rows. Prints a Markdown table; exits 1 if a row is worse than its limit: plain
 * rounding further than 3 % from the reference, scales alone or GPTQ alone more than 5 % above it,
 * scales with clip or GPTQ above it.
 */
#include "quality.h"

#include <stdio.h>
#include <string.h>

typedef struct bench {
    quality quality;
    const char *only_bits, *only_group, *only_method;
    bool missed;
} bench;

static bool wanted(const char *only, const char *value)
{
    return !only || !strcmp(only, value);
}

static void run_row(bench *b, const cJSON *item)
{
    quality_row row;
    if (!quality_read(item, &row) || !wanted(b->only_bits, row.bits) ||
        !wanted(b->only_group, row.group) || !wanted(b->only_method, row.method))
        return;
    double seconds, kl = quality_measure(&b->quality, &row, &seconds), ratio = kl / row.kl;
    bool good = ratio <= (strchr(row.method, '+') ? 1 : 1.05);
    if (!strcmp(row.method, "rtn"))
        good = ratio >= 0.97 && ratio <= 1.03;
    b->missed |= !good;
    printf("| %s | %s | %s | %s | %.6f | %.6f | %.3f%s | %.1f |\n", row.bits, row.group,
           row.symmetric ? "symmetric" : "asymmetric", row.method, row.kl, kl, ratio,
           good ? "" : " !", seconds);
    if (!strcmp(row.bits, "mx") && !strcmp(row.method, "awq")) {
        row.method = "awq+clip";
        double chosen = quality_measure(&b->quality, &row, &seconds);
        b->missed |= !(chosen < kl);
        printf("| mx | %s | symmetric | awq, exponents chosen | %.6f | %.6f | %.3f%s | %.1f |\n",
               row.group, row.kl, chosen, chosen / row.kl, chosen < kl ? "" : " !", seconds);
    }
    fflush(stdout);
}

static void read_option(bench *b, char *text)
{
    const char *value = quality_split(text);
    if (!strcmp(text, "bits"))
        b->only_bits = value;
    else if (!strcmp(text, "group"))
        b->only_group = value;
    else if (!strcmp(text, "method"))
        b->only_method = value;
    else
        quality_add(&b->quality, text, value);
}

int main(int count, char **arguments)
{
    bench b = {0};
    if (count < 3) {
        fprintf(stderr, "usage: bench_quality PLUGIN_DIR MODEL_DIR [OPTION=VALUE...]\n");
        return 2;
    }
    quality_begin(&b.quality, arguments[1]);
    b.quality.model = arguments[2];
    for (int i = 3; i < count; i++)
        read_option(&b, arguments[i]);
    printf("%s\n\n| bits | group | codes | method | reference KL | KL | ratio | seconds |\n",
           b.quality.model);
    printf("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    cJSON *root = quality_references(b.quality.model);
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "rows"))
    {
        run_row(&b, row);
    }
    cJSON_Delete(root);
    quality_end(&b.quality);
    return b.missed;
}
