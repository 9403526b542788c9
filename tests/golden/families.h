/* What the models of all architectures are tried with (test_MODEL.c). */
#ifndef FAMILIES_H
#define FAMILIES_H

#include "golden/kl.h"
#include "golden/runs.h"

/* A run of short_recipe with more options, by the name that data/kl.txt has. */
typedef struct way {
    const char *name;
    const char *options[13];
} way;

static inline double kl_of(const fixture *f, const char *model, const way *w)
{
    double kl = run_short(f, model, w->options, true).kl;
    assert_kl(model, w->name, kl);
    return kl;
}

/* Each result reads back as what was reported, and is as good as was recorded. */
static inline void check_reading(const fixture *f, const char *model, const way *ways, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        awq_eval_result reported = run_short(f, model, ways[i].options, true);
        awq_eval_result found = evaluate_output(f, model);
        assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
        assert_kl(model, ways[i].name, found.kl);
    }
}

/* Text enough for GPTQ to gain by. */
#define MORE_TEXT "calibration.samples", "24", "calibration.sequence_length", "256"

/* Scales are better than RTN, and error-compensated rounding, with them or alone, is
   better than rounding to nearest. */
static inline void check_methods(const fixture *f, const char *model)
{
    static const way plain = {"rtn", {"quantize.method", "rtn", NULL}};
    static const way scaled = {"awq", {NULL}}, more = {"awq-more-text", {MORE_TEXT, NULL}};
    static const way compensated = {"gptq-more-text",
                                    {MORE_TEXT, "quantize.rounding", "gptq", NULL}};
    static const way alone = {"gptq-alone-more-text", {MORE_TEXT, "quantize.method", "gptq", NULL}};
    double rtn = kl_of(f, model, &plain);
    assert_true(kl_of(f, model, &scaled) < 0.6 * rtn);
    assert_true(kl_of(f, model, &compensated) < kl_of(f, model, &more));
    assert_true(kl_of(f, model, &alone) < 0.9 * rtn);
}

#define FAMILY_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_run, tear_down)
#define COUNT(array) (sizeof(array) / sizeof *(array))

#endif
