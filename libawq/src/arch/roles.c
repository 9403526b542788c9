/* What modules are for. */
#include "arch/arch.h"

static const char *const names[] = {"other",  "embedding",     "norm", "attention", "router",
                                    "expert", "shared_expert", "mlp",  "head"};

const char *awq_role_name(awq_role role)
{
    return (size_t)role < sizeof names / sizeof *names ? names[role] : "?";
}

bool awq__role_is_linear(awq_role role)
{
    return role != AWQ_ROLE_NORM && role != AWQ_ROLE_EMBEDDING && role != AWQ_ROLE_OTHER;
}
