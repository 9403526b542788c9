/* The tensors of bitsandbytes, and the JSON beside NF4 codes: what reading and writing share. */
#include "format/format.h"
#include "compute/nf4.h"

#include <stdio.h>
#include <string.h>

#define OFFSET_BYTES 32

static const char *type_name(awq_dtype dtype)
{
    return dtype == AWQ_F32 ? "float32" : dtype == AWQ_F16 ? "float16" : "bfloat16";
}

/* Nine digits, which give the F32 back, in as many characters for every offset; with a point
   whatever the locale. It is a mean of magnitudes. */
static void print_offset(float offset, char text[OFFSET_BYTES])
{
    char digits[OFFSET_BYTES];
    snprintf(digits, sizeof digits, "%.8e", (double)offset);
    const char *exponent = strchr(digits, 'e');
    snprintf(text, OFFSET_BYTES, "%c.%.8s%.4s", digits[0], exponent - 8, exponent);
}

int awq__nf4_print_state(int64_t rows, int64_t cols, awq_dtype dtype, float offset,
                         char text[AWQ__NF4_STATE_BYTES])
{
    char printed[OFFSET_BYTES];
    print_offset(offset, printed);
    return snprintf(text, AWQ__NF4_STATE_BYTES,
                    "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"%s\", "
                    "\"shape\": [%lld, %lld], \"nested_blocksize\": %d, "
                    "\"nested_dtype\": \"float32\", \"nested_offset\": %s}",
                    AWQ__NF4_GROUP, type_name(dtype), (long long)rows, (long long)cols,
                    AWQ__NESTED_GROUP, printed);
}

int64_t awq__nf4_state_bytes(int64_t rows, int64_t cols)
{
    char text[AWQ__NF4_STATE_BYTES];
    return awq__nf4_print_state(rows, cols, AWQ_BF16, 0, text);
}

/* ---- tensors ---- */

static int specs_nf4(int64_t rows, int64_t cols, bool nested, awq__spec out[AWQ__MAX_SPECS])
{
    int64_t groups = rows * (cols / AWQ__NF4_GROUP);
    out[AWQ__NF4_WEIGHT] = (awq__spec){".weight", AWQ_U8, 2, {rows * (cols / 2), 1}};
    out[AWQ__NF4_ABSMAX] = (awq__spec){".weight.absmax", nested ? AWQ_U8 : AWQ_F32, 1, {groups}};
    out[AWQ__NF4_MAP] = (awq__spec){".weight.quant_map", AWQ_F32, 1, {AWQ__NF4_CODES}};
    out[AWQ__NF4_STATE] = (awq__spec){
        ".weight.quant_state.bitsandbytes__nf4", AWQ_U8, 1, {awq__nf4_state_bytes(rows, cols)}};
    if (!nested)
        return AWQ__NF4_STATE + 1;
    out[AWQ__NF4_NESTED_ABSMAX] =
        (awq__spec){".weight.nested_absmax", AWQ_F32, 1, {awq__nested_groups(groups)}};
    out[AWQ__NF4_NESTED_MAP] =
        (awq__spec){".weight.nested_quant_map", AWQ_F32, 1, {AWQ__NESTED_CODES}};
    return AWQ__NF4_NESTED_MAP + 1;
}

int awq__bitsandbytes_specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                            awq__spec out[AWQ__MAX_SPECS])
{
    if (scheme->bits != 8)
        return specs_nf4(rows, cols, scheme->grid == AWQ__GRID_NESTED, out);
    out[AWQ__INT8_WEIGHT] = (awq__spec){".weight", AWQ_I8, 2, {rows, cols}};
    out[AWQ__INT8_ROW_MAXIMA] = (awq__spec){".SCB", AWQ_F32, 1, {rows}};
    out[AWQ__INT8_LAYOUT] = (awq__spec){".weight_format", AWQ_U8, 0, {0}};
    return AWQ__INT8_LAYOUT + 1;
}
