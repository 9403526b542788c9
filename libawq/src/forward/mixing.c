/* The attention block of any kind: norm, what the kind makes of a sequence, o. A sequence a task.
 */
#include "forward/layer.h"

#include <string.h>

typedef struct job {
    const awq__forward *forward;
    const awq__layer *layer;
    const float *hidden;
    float *out;
    bool add;
    awq__attention_tap tap;
    void *user;
    int64_t longest;
    awq__scratch scratch;
} job;

static const awq__mixer *mixer_of(const awq__layer *layer)
{
    if (layer->delta.value_heads)
        return &awq__delta_mixer;
    return layer->attention.latent.kv_rank ? &awq__latent_mixer : &awq__softmax_mixer;
}

/* The work space of one sequence: x, c, and what first the mixer and then o takes. */
typedef struct space {
    float *x, *c, *rest;
} space;

static size_t cut(const awq__layer *layer, int64_t L, float *base, space *s)
{
    const awq__weight *o = &layer->attention.o;
    int64_t mixer = (int64_t)mixer_of(layer)->floats(layer, L);
    const int64_t sizes[] = {L * layer->hidden, L * o->cols, awq__max(mixer, awq__weight_work(o))};
    float **const parts[] = {&s->x, &s->c, &s->rest};
    return awq__cut_space(base, sizes, parts, 3);
}

int64_t awq__attention_work(const awq__layer *layer, int64_t longest)
{
    space unused;
    return (int64_t)cut(layer, longest, NULL, &unused);
}

static void multiply(const job *j, int64_t count, float *x)
{
    j->forward->compute->scale(1, count, &j->layer->branch_multiplier, NULL, x);
}

/* out = o(c), normed and multiplied as the layer has it, or out += */
static awq_status project(const job *j, int64_t begin, int64_t L, const space *s)
{
    const awq__compute *compute = j->forward->compute;
    const awq__weight *o = &j->layer->attention.o;
    int64_t H = j->layer->hidden;
    float *out = j->out + begin * H;
    /* The input is not needed any more once it has been mixed: x takes the output. */
    awq__linear(compute, o, L, s->c, o->cols, s->x, H, s->rest);
    AWQ__CHECK(awq__check_finite(j->forward, o->name, "outputs", L * H, s->x));
    if (j->layer->attention.post_norm)
        compute->rms_norm(L, H, s->x, j->layer->attention.post_norm, j->layer->epsilon, s->x);
    if (j->layer->branch_multiplier != 1)
        multiply(j, L * H, s->x);
    if (j->add)
        compute->combine(L, 1, H, NULL, s->x, out);
    else
        memcpy(out, s->x, (size_t)(L * H) * sizeof *out);
    return AWQ_OK;
}

static awq_status run_sequence(void *arg, int64_t index, int worker)
{
    job *j = arg;
    const awq__layer *layer = j->layer;
    const int64_t *offsets = j->forward->sequences->offsets;
    int64_t H = layer->hidden, begin = offsets[index], L = offsets[index + 1] - begin;
    space s;
    float *floats = awq__scratch_get(&j->scratch, worker, cut(layer, j->longest, NULL, &s));
    AWQ__CHECK_ALLOC(floats);
    cut(layer, j->longest, floats, &s);
    const awq__mixing m = {.forward = j->forward,
                           .layer = layer,
                           .tokens = L,
                           .x = s.x,
                           .c = s.c,
                           .space = s.rest,
                           .slot = index,
                           .tap = j->tap,
                           .user = j->user};
    j->forward->compute->rms_norm(L, H, j->hidden + begin * H, layer->attention.norm,
                                  layer->epsilon, s.x);
    awq__mixing_show(&m, AWQ__VECTOR_X, s.x);
    mixer_of(layer)->mix(&m);
    awq__mixing_show(&m, AWQ__VECTOR_C, s.c);
    return j->out ? project(j, begin, L, &s) : AWQ_OK;
}

awq_status awq__attention_forward(const awq__forward *forward, const awq__layer *layer,
                                  const float *hidden, bool add, float *out, awq__attention_tap tap,
                                  void *user)
{
    job j = {.forward = forward,
             .layer = layer,
             .hidden = hidden,
             .out = out,
             .add = add,
             .tap = tap,
             .user = user};
    const awq__sequences *sequences = forward->sequences;
    for (int64_t i = 0; i < sequences->count; i++)
        j.longest = awq__max(j.longest, sequences->offsets[i + 1] - sequences->offsets[i]);
    awq_status status;
    AWQ__TRY(awq__scratch_create(forward->ctx, "attention work space", &j.scratch));
    AWQ__TRY(awq__parallel_scratch(&j.scratch, (size_t)awq__attention_work(layer, j.longest),
                                   sequences->count, run_sequence, &j));
done:
    awq__scratch_free(&j.scratch);
    return status;
}
