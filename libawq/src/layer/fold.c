/* Folds: readers of an input are multiplied by its scale, what makes the input is divided by it. */
#include "core/convert.h"
#include "layer/input.h"

/* Exact where the scale was rounded for the norm. Whatever else reads the norm is multiplied. */
static void into_norm(const awq__input *input)
{
    const awq__fold_site *site = &input->site;
    for (int64_t k = 0; k < site->run; k++)
        site->inverse[k] =
            awq__round_shifted(site->norm_dtype, site->norm_shift, site->norm[k] / input->scale[k]);
    *site->folded_norm = site->inverse;
    for (int i = 0; i < 2; i++)
        if (site->others[i])
            site->others[i]->col_scale = input->scale;
}

/* Rows that make no column of the input stay as they are. */
static void into_rows(const awq__input *input)
{
    const awq__fold_site *site = &input->site;
    int64_t D = site->run, skipped = site->stride - D;
    for (int64_t n = 0; n < site->producer->rows; n++) {
        int64_t run = n / site->stride, i = n % site->stride - skipped;
        site->inverse[n] = i < 0 ? 1 : input->unscale[run * site->shared * D + i];
    }
    site->producer->row_scale = site->producer->bias_scale = site->inverse;
}

void awq__fold(awq__block *block)
{
    for (int64_t i = 0; i < block->input_count; i++) {
        awq__input *input = &block->inputs[i];
        if (!input->scale)
            continue;
        if (input->site.kind == AWQ__FOLD_NORM)
            into_norm(input);
        else
            into_rows(input);
        for (int64_t r = 0; r < input->reader_count; r++)
            input->readers[r].folded->col_scale = input->scale;
        input->folded = true;
    }
}

static void unfold_site(const awq__fold_site *site)
{
    if (site->kind == AWQ__FOLD_NORM)
        *site->folded_norm = site->norm;
    else
        site->producer->row_scale = site->producer->bias_scale = NULL;
    for (int i = 0; i < 2; i++)
        if (site->others[i])
            site->others[i]->col_scale = NULL;
}

void awq__unfold(awq__block *block)
{
    for (int64_t i = 0; i < block->input_count; i++) {
        awq__input *input = &block->inputs[i];
        if (!input->folded)
            continue;
        unfold_site(&input->site);
        for (int64_t r = 0; r < input->reader_count; r++)
            input->readers[r].folded->col_scale = NULL;
        input->folded = false;
        input->found.candidate = 0;
    }
}
