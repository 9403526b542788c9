/* Grouped-query attention on a device, some sequences at a time. */
#include "backend/gpu.h"

#include <math.h>

#define TOKENS 16384 /* whose queries, keys and values are there at a time, at least a sequence */

bool awq__gpu_takes_attention(const awq__layer *layer)
{
    const awq__attention *a = &layer->attention;
    bool softmax = !layer->delta.value_heads && !a->latent.kv_rank && !a->output_gate &&
                   !a->value_is_key && !a->chunk;
    bool plain = a->rope == 0 && !a->adjacent && !a->norm_after_rope && !a->bare_norms &&
                 !a->post_norm && isinf(a->clip) && a->temperature_floor <= 0;
    return softmax && plain && layer->branch_multiplier == 1 && a->head_dim % 4 == 0 &&
           a->head_dim <= 256;
}

/* The arrays of a layer. */
typedef struct attention {
    awq__device_matrix q, k, v, o;
    const float *norm, *q_norm, *k_norm, *sinks;
} attention;

static awq_status prepare(awq__frame *f, const awq__layer *layer, bool output, attention *a)
{
    const awq__attention *from = &layer->attention;
    bool across = from->norm_across_heads;
    AWQ__CHECK(awq__gpu_matrix_of(f, &from->q, &a->q));
    AWQ__CHECK(awq__gpu_matrix_of(f, &from->k, &a->k));
    AWQ__CHECK(awq__gpu_matrix_of(f, &from->v, &a->v));
    if (output)
        AWQ__CHECK(awq__gpu_matrix_of(f, &from->o, &a->o));
    AWQ__CHECK(awq__frame_vector(f, from->norm, layer->hidden, &a->norm));
    AWQ__CHECK(awq__frame_vector(
        f, from->q_norm, across ? from->heads * from->head_dim : from->head_dim, &a->q_norm));
    AWQ__CHECK(awq__frame_vector(
        f, from->k_norm, across ? from->kv_heads * from->head_dim : from->head_dim, &a->k_norm));
    return awq__frame_vector(f, from->sinks, from->heads, &a->sinks);
}

/* Of `heads` heads of rows[T,heads*D]: norm and rotation. */
static void turn(awq__frame *f, const awq__states *states, const awq__layer *layer, int64_t first,
                 int64_t T, int64_t heads, const float *norm, float *rows)
{
    const awq__attention *a = &layer->attention;
    const struct awq__gpu_states *device = states->device;
    int64_t D = a->head_dim, count = a->norm_across_heads ? T : T * heads;
    if (norm)
        f->run->rms_norm(f->d, count, T * heads * D / count, rows, norm, layer->epsilon, rows);
    f->run->rotate(f->d, T, heads, D, states->rotary[0].pairs, device->position + first,
                   device->cos_sin, rows);
}

/* A run of sequences in work. */
typedef struct part {
    awq__sequences sequences;
    int64_t first, T; /* tokens */
    float *x, *q, *k, *v, *c;
} part;

static awq_status make_part(awq__frame *f, const awq__layer *layer, part *p)
{
    const awq__attention *a = &layer->attention;
    const char *what = "attention";
    int64_t D = a->head_dim;
    AWQ__CHECK(awq__frame_floats(f, p->T * layer->hidden, what, &p->x));
    AWQ__CHECK(awq__frame_floats(f, p->T * a->heads * D, what, &p->q));
    AWQ__CHECK(awq__frame_floats(f, p->T * a->kv_heads * D, what, &p->k));
    AWQ__CHECK(awq__frame_floats(f, p->T * a->kv_heads * D, what, &p->v));
    return awq__frame_floats(f, p->T * a->heads * D, what, &p->c);
}

static void attend(awq__frame *f, const awq__states *states, const awq__layer *layer,
                   const attention *a, const part *p)
{
    const awq__attention *from = &layer->attention;
    const awq__device_matrix qkv[] = {a->q, a->k, a->v};
    float *const outputs[] = {p->q, p->k, p->v};
    const awq__device_attention how = {.sequences = p->sequences.count,
                                       .offsets = p->sequences.offsets,
                                       .heads = from->heads,
                                       .kv_heads = from->kv_heads,
                                       .head_dim = from->head_dim,
                                       .window = from->window,
                                       .scale = from->scale,
                                       .sinks = a->sinks};
    f->run->rms_norm(f->d, p->T, layer->hidden, states->device->hidden + p->first * layer->hidden,
                     a->norm, layer->epsilon, p->x);
    f->run->linear(f->d, AWQ__DEVICE_EXACT, p->T, p->x, 3, qkv, outputs);
    turn(f, states, layer, p->first, p->T, from->heads, a->q_norm, p->q);
    turn(f, states, layer, p->first, p->T, from->kv_heads, a->k_norm, p->k);
    f->run->attention(f->d, &how, p->q, p->k, p->v, p->c);
}

/* x takes the output of o, which out gets. */
static void add_output(awq__frame *f, const awq__layer *layer, const attention *a, const part *p,
                       int32_t *special, float *out)
{
    f->run->linear(f->d, AWQ__DEVICE_EXACT, p->T, p->c, 1, &a->o, &p->x);
    f->run->count_special(f->d, p->T * layer->hidden, p->x, special);
    f->run->add_rows(f->d, p->T, layer->hidden, NULL, NULL, p->x, out);
}

static awq_status check_special(awq__frame *f, const awq__layer *layer, const int32_t *special)
{
    int32_t count = 0;
    f->run->download(f->d, &count, special, sizeof count);
    AWQ__CHECK(awq__gpu_finish(f->ctx, f->gpu));
    return count ? awq__not_finite(f->ctx, layer->attention.o.name, "outputs") : AWQ_OK;
}

awq_status awq__gpu_attend(awq__frame *f, const awq__states *states,
                           const awq__sequences *sequences, const awq__layer *layer, float *out,
                           const awq__gpu_attention_tap *tap)
{
    attention a = {0};
    part p;
    int32_t *special;
    int64_t begin = sequences->offsets[0], H = layer->hidden;
    AWQ__CHECK(prepare(f, layer, out != NULL, &a));
    AWQ__CHECK(awq__frame_bytes(f, sizeof *special, "a count", &special));
    f->run->clear(f->d, special, sizeof *special);
    for (int64_t i = 0; i < sequences->count; i += p.sequences.count) {
        size_t kept = f->count;
        p.sequences = awq__some_sequences(sequences, i, TOKENS);
        p.first = p.sequences.offsets[0];
        p.T = p.sequences.offsets[p.sequences.count] - p.first;
        AWQ__CHECK(make_part(f, layer, &p));
        attend(f, states, layer, &a, &p);
        if (tap)
            AWQ__CHECK(tap->see(tap->user, f, p.T, p.x, p.c));
        if (out)
            add_output(f, layer, &a, &p, special, out + (p.first - begin) * H);
        awq__frame_back(f, kept);
    }
    return out ? check_special(f, layer, special) : AWQ_OK;
}

static awq_status by_cpu(awq__states *states, const awq__layer *layer)
{
    AWQ__CHECK(awq__gpu_to_host(states));
    AWQ__CHECK(awq__cpu_attention(states, layer));
    return awq__gpu_to_device(states);
}

awq_status awq__gpu_attention(awq__states *states, const awq__layer *layer)
{
    awq_status status;
    if (!awq__gpu_takes_attention(layer))
        return by_cpu(states, layer);
    awq__frame frame = awq__frame_begin(states->forward.ctx);
    AWQ__TRY(awq__gpu_attend(&frame, states, states->forward.sequences, layer,
                             states->device->hidden, NULL));
done:
    return awq__frame_end(&frame, status);
}
