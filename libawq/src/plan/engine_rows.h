/* The table of what engines take, and what evaluating it and searching for a remedy share. */
#ifndef AWQ__ENGINE_ROWS_H
#define AWQ__ENGINE_ROWS_H

#include "plan/engines.h"

/* What a row asks of the modules in its scope; the comment says what `values` are. */
typedef enum awq__constraint {
    AWQ__NONE_TAKEN,      /* there are none; at level NOTE: `why` holds for them */
    AWQ__CODES_TAKEN,     /* an awq__code, then up to three numbers of bits */
    AWQ__SYMMETRIC_TAKEN, /* they have no zero points */
    AWQ__GROUPS_TAKEN,    /* up to four group sizes, -1 for a row */
    AWQ__MODEL_TYPES,     /* (in `model_types`) */
    AWQ__HIDDEN_MULTIPLE, /* hidden_size is a multiple of this */
    AWQ__SHARD_GROUPS,    /* a device's columns are whole groups; 0, or what larger groups are
                             split into */
    AWQ__SHARD_MULTIPLE,  /* a device's part of the intermediate size is a multiple of this */
    AWQ__TENSOR_PARALLEL, /* at most this */
    AWQ__ALIKE,           /* an awq__unit, within which schemes are the same; 1: or all are kept,
                             0: or kept */
    AWQ__NONE_KEPT,       /* they are all quantized, if anything is */
    AWQ__CONSTRAINT_COUNT,
} awq__constraint;

/* What an engine makes one thing of. */
typedef enum awq__unit {
    AWQ__UNIT_LINEAR, /* q, k and v; gate and up of one MLP */
    AWQ__UNIT_LAYER,
    AWQ__UNIT_MODEL,
} awq__unit;

typedef enum awq__scope {
    AWQ__EITHER,
    AWQ__ONLY,
    AWQ__NOT,
} awq__scope;

/* Results that a row is for. */
typedef enum awq__where {
    AWQ__EVERYWHERE,
    AWQ__ODD_HIDDEN, /* hidden_size is no multiple of AWQ__MARLIN_HIDDEN */
    AWQ__NO_MARLIN,  /* the same, or devices break the groups of experts */
} awq__where;
#define AWQ__MARLIN_HIDDEN 128

#define AWQ__ROLE_BIT(role) (1u << (role))
#define AWQ__EXPERTS AWQ__ROLE_BIT(AWQ_ROLE_EXPERT)
#define AWQ__OTHER_LINEARS                                                                         \
    (AWQ__ROLE_BIT(AWQ_ROLE_ATTENTION) | AWQ__ROLE_BIT(AWQ_ROLE_SHARED_EXPERT) |                   \
     AWQ__ROLE_BIT(AWQ_ROLE_MLP))
#define AWQ__ROUTERS AWQ__ROLE_BIT(AWQ_ROLE_ROUTER)
#define AWQ__HEAD AWQ__ROLE_BIT(AWQ_ROLE_HEAD)
#define AWQ__ALL_ROLES (~0u)

enum { AWQ__ROW_VALUES = 4 };

typedef struct awq__engine_row {
    const char *engine;   /* one of AWQ__ENGINE_CHOICES but any */
    const char *versions; /* "" for all that were read */
    awq__engine_level level;
    const char *formats; /* "awq|gptq" */

    /* Which quantized modules; ALIKE and NONE_KEPT go by role alone. */
    unsigned roles;
    int bits; /* as stored; 0 for any */
    awq__scope native_mxfp4;
    awq__where where;

    awq__constraint constraint;
    int64_t values[AWQ__ROW_VALUES];
    const char *model_types; /* "mixtral|qwen2_moe" */
    const char *why;         /* goes on after a colon; NULL where nothing is to be said */
    const char *source;
} awq__engine_row;

/* index is below awq__engine_row_count. */
const awq__engine_row *awq__engine_row_of(size_t index);

/* ---- engine_match.c ---- */

/* What in a result breaks a row. */
typedef struct awq__hit {
    const awq__engine_module *module; /* the first that does */
    const awq__engine_module *other;  /* of ALIKE and NONE_KEPT: the one that it differs from */
    size_t count;                     /* of modules that do */
    size_t units;                     /* of ALIKE: units with a difference */
} awq__hit;

/* count 0 if the row is not for the result, or nothing breaks it. */
awq__hit awq__engine_hit(const awq__engine_row *row, const awq__engine_facts *facts);
/* Does no row of this level or a worse one apply to the engine? */
bool awq__engine_loads(const char *engine, awq__engine_level level, const awq__engine_facts *facts);

/* What devices share of a matrix. */
typedef struct awq__shard {
    bool columns; /* else rows */
    int64_t size, devices;
    int64_t group; /* of columns, in which a row of the table wants a device's part; 1 for any */
} awq__shard;
awq__shard awq__shard_of(const awq__engine_row *row, const awq__engine_facts *facts,
                         const awq__engine_module *module);
/* Do they belong to one unit? */
bool awq__same_unit(awq__unit unit, const awq__engine_module *a, const awq__engine_module *b);

/* ---- engine_text.c ---- */

/* One line for people: the module, what was found, what the engine takes. NULL on failure. */
char *awq__engine_reason(awq_context *ctx, const awq__engine_row *row,
                         const awq__engine_facts *facts, const awq__hit *hit);

/* ---- engine_remedy.c ---- */

/* Which modules are made to have the same scheme. */
typedef enum awq__made_alike {
    AWQ__AS_THEY_ARE,
    AWQ__UNITS_ALIKE,   /* those of each layer's experts and of each fused linear */
    AWQ__EXPERTS_ALIKE, /* these, and the experts of all layers */
    AWQ__ALL_ALIKE,     /* these, and every other quantized module */
    AWQ__EXPERTS_ALONE, /* experts alike, and nothing else is quantized */
    AWQ__MADE_ALIKE_COUNT,
} awq__made_alike;

/* A change of the recipe. */
typedef struct awq__change {
    const char *format; /* NULL: as it is */
    bool symmetric;     /* made so; no engine asks for zero points */
    int bits;           /* 0: as it is */
    int64_t group;      /* 0: as it is */
    int64_t tensor_parallel;
    awq__made_alike alike;
} awq__change;

/* The cheapest change with which the engine loads the result at this level; *found false if there
   is none. Every change in question is applied to a copy of the facts and checked. */
awq_status awq__engine_remedy(awq_context *ctx, const char *engine, awq__engine_level level,
                              const awq__engine_facts *facts, awq__change *change, bool *found);
/* As option assignments, in the light of the row that it is a remedy for. NULL on failure. */
char *awq__change_text(awq_context *ctx, const awq__change *change, const awq__engine_row *row,
                       const awq__hit *hit);

#endif
