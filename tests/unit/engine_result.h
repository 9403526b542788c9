/* Results for the tests of engines: small models that differ from a usual one. */
#ifndef ENGINE_RESULT_H
#define ENGINE_RESULT_H

#include "context.h"
#include "plan/engines.h"

#include <fnmatch.h>
#include <stdio.h>

/* A result of two layers with four experts and a shared one. What is 0 is as in `usual`. */
typedef struct setup {
    const char *format, *model_type;
    int bits;
    int64_t group;
    bool zeros; /* asymmetric */
    awq__code code;
    int64_t hidden, intermediate, shared, parallel;
    bool native;
    const char *quantized; /* a glob on names */
    const char *also;      /* a name: a head or a router that is quantized too */
    const char *odd;       /* a glob: the scheme has odd_group, or, with 0, it is kept */
    int64_t odd_group;
} setup;

static const setup usual = {.format = "compressed-tensors",
                            .model_type = "qwen3_moe",
                            .bits = 4,
                            .group = 64,
                            .hidden = 2048,
                            .intermediate = 1024,
                            .shared = 1024,
                            .parallel = 1,
                            .quantized = "*_proj"};

enum { LAYERS = 2, EXPERTS = 4, MODULES = LAYERS * (5 + 3 * EXPERTS + 3) + 1 };

typedef struct result {
    awq__engine_facts facts;
    awq__engine_module modules[MODULES];
    char names[MODULES][80];
    awq__scheme scheme, odd;
} result;

static inline setup filled(setup s)
{
#define FILL(member) s.member = s.member ? s.member : usual.member
    FILL(format);
    FILL(model_type);
    FILL(bits);
    FILL(group);
    FILL(hidden);
    FILL(intermediate);
    FILL(shared);
    FILL(parallel);
    FILL(quantized);
#undef FILL
    return s;
}

static inline void add(result *r, const setup *s, awq__engine_module m, const char *name)
{
    size_t i = r->facts.module_count++;
    assert_true(i < MODULES);
    snprintf(r->names[i], sizeof r->names[i], "%s", name);
    m.name = r->names[i];
    if (!fnmatch(s->quantized, name, 0) || (s->also && !strcmp(s->also, name)))
        m.scheme = &r->scheme;
    if (s->odd && !fnmatch(s->odd, name, 0))
        m.scheme = s->odd_group ? &r->odd : NULL;
    r->modules[i] = m;
}

static inline void add_mlp(result *r, const setup *s, awq_role role, int64_t layer, int64_t expert,
                           int64_t width)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    for (int p = 0; p < 3; p++) {
        char name[80];
        if (role == AWQ_ROLE_EXPERT)
            snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s", (int)layer,
                     (int)expert, names[p]);
        else
            snprintf(name, sizeof name, "model.layers.%d.mlp.shared_expert.%s", (int)layer,
                     names[p]);
        add(r, s,
            (awq__engine_module){.role = role,
                                 .part = AWQ__PART_GATE + (awq__part)p,
                                 .layer = layer,
                                 .expert = expert,
                                 .rows = p < 2 ? width : s->hidden,
                                 .cols = p < 2 ? s->hidden : width},
            name);
    }
}

static inline void add_layer(result *r, const setup *s, int64_t layer)
{
    static const char *const attention[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
    char name[80];
    awq__engine_module m = {.layer = layer, .expert = -1, .rows = s->hidden, .cols = s->hidden};
    for (int p = 0; p < 4; p++) {
        m.role = AWQ_ROLE_ATTENTION;
        m.part = AWQ__PART_Q + (awq__part)p;
        snprintf(name, sizeof name, "model.layers.%d.self_attn.%s", (int)layer, attention[p]);
        add(r, s, m, name);
    }
    m.role = AWQ_ROLE_ROUTER;
    m.part = AWQ__PART_ROUTER;
    snprintf(name, sizeof name, "model.layers.%d.mlp.gate", (int)layer);
    add(r, s, m, name);
    for (int64_t e = 0; e < EXPERTS; e++)
        add_mlp(r, s, AWQ_ROLE_EXPERT, layer, e, s->intermediate);
    add_mlp(r, s, AWQ_ROLE_SHARED_EXPERT, layer, EXPERTS, s->shared);
}

static inline void make(setup given, result *r)
{
    setup s = filled(given);
    *r = (result){
        .scheme = {.code = s.code, .bits = s.bits, .group = s.group, .symmetric = !s.zeros},
        .facts = {.format = s.format,
                  .model_type = s.model_type,
                  .native_mxfp4 = s.native,
                  .hidden = s.hidden,
                  .tensor_parallel = s.parallel}};
    r->odd = r->scheme;
    r->odd.group = s.odd_group;
    r->facts.modules = r->modules;
    for (int64_t layer = 0; layer < LAYERS; layer++)
        add_layer(r, &s, layer);
    add(r, &s,
        (awq__engine_module){
            .role = AWQ_ROLE_HEAD, .part = AWQ__PART_HEAD, .layer = -1, .expert = -1, .cols = 64},
        "lm_head");
}

static inline awq__findings check(awq_context *ctx, const char *engine, setup s)
{
    result r;
    awq__findings findings;
    make(s, &r);
    succeeds(ctx, awq__engines_check(ctx, engine, &r.facts, &findings));
    return findings;
}

static inline size_t refusals(const awq__findings *findings)
{
    size_t count = 0;
    for (size_t i = 0; i < findings->count; i++)
        count += findings->items[i].refused;
    return count;
}

/* Names and beginnings of setups. */
#define EXPERT_DOWN "model.layers.1.mlp.experts.2.down_proj"
#define V "model.layers.1.self_attn.v_proj"
#define O "model.layers.1.self_attn.o_proj"
#define LAST_EXPERTS "*.layers.1.*.experts.*"
#define ATTENTION "*.self_attn.*_proj"
#define AWQ .format = "awq"
#define GPTQ .format = "gptq"
#define BNB .format = "bitsandbytes"
#define MXFP4                                                                                      \
    .format = "mxfp4", .model_type = "gpt_oss", .native = true, .code = AWQ__CODE_E2M1, .group = 32
#define MXFP4_EXPERTS MXFP4, .quantized = "*.experts.*"

#endif
