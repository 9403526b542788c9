/* What modules are for. */
#include "arch/arch.h"

static const char *const names[] = {"other",  "embedding",     "norm", "attention", "router",
                                    "expert", "shared_expert", "mlp",  "head"};

const char *awq_role_name(awq_role role)
{
    return (size_t)role < sizeof names / sizeof *names ? names[role] : "?";
}

/* The gates of a delta net have too few rows to be worth rounding, and no role that would have them
   rounded. */
bool awq__is_linear(const awq__module *module)
{
    if (module->role == AWQ_ROLE_OTHER)
        return module->part == AWQ__PART_DELTA_B || module->part == AWQ__PART_DELTA_A;
    return module->role != AWQ_ROLE_NORM && module->role != AWQ_ROLE_EMBEDDING;
}

awq__part awq__first_beside(awq__part part)
{
    switch (part) {
    case AWQ__PART_K:
    case AWQ__PART_V:
        return AWQ__PART_Q;
    case AWQ__PART_UP:
        return AWQ__PART_GATE;
    case AWQ__PART_KV_A:
        return AWQ__PART_Q_A; /* or Q, where the layer has no Q_A */
    case AWQ__PART_DELTA_Z:
        return AWQ__PART_DELTA_QKV;
    default:
        return part;
    }
}
