/* Rotary frequencies from what config.json says in any of the forms that it has had. */
#include "arch/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TWO_PI 6.283185307179586
/* Bounds of yarn's numbers, so that none of its logarithms and quotients overflows. */
#define YARN_LEAST 1e-6
#define YARN_MOST 1e12

static const double absent = NAN; /* which no JSON number is */

/* There may be an object for each kind of layer; read as one they would give defaults. */
static awq_status refuse_nested(const awq__rope_source *from)
{
    const awq__host *host = from->host;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(host->config, from->object))
    {
        if (cJSON_IsObject(item))
            return awq__fail(host->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: %s has an object \"%s\", expected one set of parameters for all "
                             "layers",
                             host->file, from->object, item->string ? item->string : "");
    }
    return AWQ_OK;
}

/* The rope type under the names it has had; "default" where nothing is said. */
static awq_status read_type(const awq__rope_source *from, const char **type)
{
    const char *fallback = "default";
    const char *names[] = {"type", "rope_type"};
    for (int i = 0; i < 2; i++) {
        AWQ__CHECK(from->table->config_string(from->table, awq__rope_key_of(from, names[i]).text,
                                              &fallback, type));
        fallback = *type;
    }
    return AWQ_OK;
}

/* With two objects, one with a theta that does not count, the usual value would be a guess. */
static awq_status read_theta(const awq__rope_source *from, double *theta)
{
    const double usual = 10000;
    double outer = 0;
    if (from->alone)
        return awq__rope_number(from, "rope_theta", NULL, theta);
    AWQ__CHECK(from->table->config_number(from->table, "rope_theta", &absent, &outer));
    const double *fallback = !isnan(outer) ? &outer : from->count < 2 ? &usual : NULL;
    return awq__rope_number(from, "rope_theta", fallback, theta);
}

/* ---- YaRN (arXiv 2309.00071), with the keys and defaults of transformers ---- */

static awq_status read_factor(const awq__rope_source *from, double positions, double *factor)
{
    AWQ__CHECK(awq__rope_number(from, "factor", &absent, factor));
    if (!isnan(*factor))
        return AWQ_OK;
    double extended;
    AWQ__CHECK(from->table->config_number(from->table, "max_position_embeddings", NULL, &extended));
    *factor = extended / positions;
    return AWQ_OK;
}

/* A beta of 0 means the default, too. */
static awq_status read_beta(const awq__rope_source *from, const char *member, double usual,
                            double *beta)
{
    AWQ__CHECK(awq__rope_number(from, member, &usual, beta));
    if (*beta == 0)
        *beta = usual;
    return AWQ_OK;
}

static double magnitude(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

double awq__yarn_attention_factor(double factor)
{
    return magnitude(factor, 1);
}

static awq_status read_attention_factor(const awq__rope_source *from, double factor, double *value)
{
    const double none = 0;
    double above, below;
    AWQ__CHECK(awq__rope_number(from, "attention_factor", &absent, value));
    AWQ__CHECK(awq__rope_number(from, "mscale", &none, &above));
    AWQ__CHECK(awq__rope_number(from, "mscale_all_dim", &none, &below));
    if (!isnan(*value))
        return AWQ_OK;
    *value = above != 0 && below != 0 ? magnitude(factor, above) / magnitude(factor, below)
                                      : awq__yarn_attention_factor(factor);
    return AWQ_OK;
}

static awq_status check_yarn(const awq__rope_source *from, const awq__rope_numbers *y)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"factor", y->factor},
                   {"attention factor", y->attention_factor},
                   {"number of original positions", y->positions},
                   {"beta_fast", y->beta_fast},
                   {"beta_slow", y->beta_slow}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(numbers[i].value >= YARN_LEAST && numbers[i].value <= YARN_MOST))
            return awq__fail(from->host->ctx, AWQ_ERROR_FORMAT,
                             "%s: %s: the %s of yarn is %g, expected %g to %g", from->host->file,
                             from->object, numbers[i].name, numbers[i].value, YARN_LEAST,
                             YARN_MOST);
    if (y->beta_fast < y->beta_slow)
        return awq__fail(from->host->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s: beta_fast is %g, expected at least beta_slow, %g",
                         from->host->file, from->object, y->beta_fast, y->beta_slow);
    return AWQ_OK;
}

static awq_status read_yarn(const awq__rope_source *from, awq__rope_numbers *y)
{
    const int truncate = 1;
    if (y->theta <= 1)
        return awq__fail(from->host->ctx, AWQ_ERROR_FORMAT,
                         "%s: rope_theta %g, expected more than 1 with rope type yarn",
                         from->host->file, y->theta);
    AWQ__CHECK(awq__rope_positions(from, &y->positions));
    AWQ__CHECK(read_factor(from, y->positions, &y->factor));
    AWQ__CHECK(read_attention_factor(from, y->factor, &y->attention_factor));
    AWQ__CHECK(read_beta(from, "beta_fast", 32, &y->beta_fast));
    AWQ__CHECK(read_beta(from, "beta_slow", 1, &y->beta_slow));
    AWQ__CHECK(from->table->config_bool(from->table, awq__rope_key_of(from, "truncate").text,
                                        &truncate, &y->truncate));
    return check_yarn(from, y);
}

/* ---- all types ---- */

static awq_status read_linear(const awq__rope_source *from, awq__rope_numbers *numbers)
{
    numbers->factor = 1;
    if (!strcmp(numbers->type, "linear"))
        AWQ__CHECK(awq__rope_number(from, "factor", NULL, &numbers->factor));
    if (numbers->theta > 0 && numbers->theta < INFINITY && numbers->factor > 0 &&
        numbers->factor < INFINITY)
        return AWQ_OK;
    return awq__fail(from->host->ctx, AWQ_ERROR_FORMAT,
                     "%s: rope_theta %g and factor %g must be positive", from->host->file,
                     numbers->theta, numbers->factor);
}

static awq_status read_all(const awq__rope_source *from, awq__rope_numbers *numbers)
{
    static const char *const known[] = {"default",  "linear",  "yarn",        "llama3",
                                        "longrope", "dynamic", "proportional"};
    bool is_known = false;
    AWQ__CHECK(read_theta(from, &numbers->theta));
    AWQ__CHECK(read_type(from, &numbers->type));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known |= !strcmp(numbers->type, known[i]);
    if (!is_known)
        return awq__fail(from->host->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: rope type \"%s\", expected default, linear, yarn, llama3, longrope, "
                         "dynamic or proportional",
                         from->host->file, numbers->type);
    AWQ__CHECK(read_linear(from, numbers));
    if (!strcmp(numbers->type, "yarn"))
        return read_yarn(from, numbers);
    return awq__rope_read_other(from, numbers);
}

awq_status awq__rope_read(const awq_host *table, awq__rope_numbers *numbers)
{
    awq__rope_source from = {.table = table, .host = table->handle};
    *numbers = (awq__rope_numbers){0};
    AWQ__CHECK(awq__rope_find(&from));
    AWQ__CHECK(refuse_nested(&from));
    return read_all(&from, numbers);
}

/* ---- frequencies ---- */

static void fill_plain(double theta, double factor, int64_t head_dim, awq_rope *rope)
{
    rope->pairs = head_dim / 2;
    rope->attention_factor = 1;
    for (int64_t i = 0; i < rope->pairs; i++)
        rope->inverse_frequency[i] = pow(theta, -2.0 * (double)i / (double)head_dim) / factor;
}

/* The pair, as a real number, that makes this many turns over the original positions. */
static double pair_of_turns(double turns, int64_t head_dim, double theta, double positions)
{
    return (double)head_dim * log(positions / (turns * TWO_PI)) / (2 * log(theta));
}

/* Fast pairs are kept, slow ones are slowed down by the factor, and a ramp lies between. */
static void apply_yarn(const awq__rope_numbers *y, int64_t head_dim, awq_rope *rope)
{
    double low = pair_of_turns(y->beta_fast, head_dim, y->theta, y->positions);
    double high = pair_of_turns(y->beta_slow, head_dim, y->theta, y->positions);
    if (y->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)(head_dim - 1));
    if (low == high)
        high += 0.001; /* the ramp has a slope */
    for (int64_t i = 0; i < rope->pairs; i++) {
        double slowed = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        rope->inverse_frequency[i] *= slowed / y->factor + (1 - slowed);
    }
    rope->attention_factor = y->attention_factor;
}

static awq_status fill(const awq__rope_source *from, int64_t head_dim, awq_rope *rope)
{
    awq__rope_numbers numbers = {0};
    *rope = (awq_rope){0};
    if (head_dim < 2 || head_dim % 2 || head_dim / 2 > AWQ_ROPE_MAX_PAIRS)
        return awq__fail(from->host->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: a head dimension of %lld, expected an even number up to %d",
                         from->host->file, (long long)head_dim, 2 * AWQ_ROPE_MAX_PAIRS);
    AWQ__CHECK(read_all(from, &numbers));
    fill_plain(numbers.theta, !strcmp(numbers.type, "linear") ? numbers.factor : 1, head_dim, rope);
    if (!strcmp(numbers.type, "yarn"))
        apply_yarn(&numbers, head_dim, rope);
    else
        awq__rope_apply_other(&numbers, head_dim, rope);
    return AWQ_OK;
}

awq_status awq__config_rope(const awq_host *table, int64_t head_dim, awq_rope *rope)
{
    awq__rope_source from = {.table = table, .host = table->handle};
    AWQ__CHECK(awq__rope_find(&from));
    AWQ__CHECK(refuse_nested(&from));
    return fill(&from, head_dim, rope);
}

awq_status awq__config_rope_at(const awq_host *table, const char *object, int64_t head_dim,
                               awq_rope *rope)
{
    const awq__rope_source from = {
        .table = table, .host = table->handle, .object = object, .alone = true};
    return fill(&from, head_dim, rope);
}
