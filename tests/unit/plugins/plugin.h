/* What the plugins of the loader's tests have in common. Each is a module of its own, and differs
   from a good plugin in one thing. */
#ifndef TEST_PLUGIN_H
#define TEST_PLUGIN_H

#include "awq/plugin.h"

static inline awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    (void)model;
    return host->fail(host, "this plugin is for tests of the loader");
}

static inline awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    (void)n;
    (void)layer;
    return host->fail(host, "this plugin is for tests of the loader");
}

extern AWQ_API const awq_plugin awq_plugin_v1;

#endif
