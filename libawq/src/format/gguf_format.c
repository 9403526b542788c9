/* GGUF as a format of results: what a recipe's types mean for a model. */
#include "compute/block_codes.h"
#include "format/gguf_model.h"
#include "format/format.h"

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = false;
    *group = 32;
}

/* Schemes are those of block types, which are complete. */
static void complete(awq__scheme *scheme, awq_dtype dtype)
{
    (void)scheme;
    (void)dtype;
}

static awq_status check(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme)
{
    const awq__block_type *type = scheme->blocks;
    if (cols % type->block == 0)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s: %lld input features (of %lld outputs) are no whole blocks of %d, which "
                     "%s has; types with blocks of 32: q8_0, q5_0, q5_1, q4_0, q4_1, iq4_nl, mxfp4",
                     module, (long long)cols, (long long)rows, type->block,
                     awq__ggml_type_of(type->id)->name);
}

/* One tensor's bytes, to be counted. */
static int specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec out[AWQ__MAX_SPECS])
{
    out[0] = (awq__spec){".weight", AWQ_U8, 2, {rows, awq__block_row_bytes(scheme->blocks, cols)}};
    return 1;
}

const awq__disk_format awq__disk_format_gguf = {
    .name = "gguf",
    .mixed = true,
    .gguf = true,
    .defaults = defaults,
    .complete = complete,
    .check = check,
    .specs = specs,
};

/* ---- the mix ---- */

const awq__block_type *awq__gguf_mix(const awq__module *module)
{
    bool wide = module->cols % 256 == 0;
    if (module->role == AWQ_ROLE_EXPERT || module->role == AWQ_ROLE_MLP)
        return awq__block_type_by_name(module->part == AWQ__PART_DOWN ? wide ? "q5_k" : "q5_1"
                                       : wide                         ? "q4_k"
                                                                      : "iq4_nl");
    if (module->role == AWQ_ROLE_EMBEDDING || module->role == AWQ_ROLE_HEAD)
        return awq__block_type_by_name(wide ? "q6_k" : "q8_0");
    return awq__block_type_by_name("q8_0");
}
