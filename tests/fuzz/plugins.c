/* The architectures of plugins/, linked in: loading them anew for each input would take most of the
   time. */
#include "fuzz.h"
#include "awq/plugin.h"

extern const awq_plugin fuzz_plugin_gpt_oss, fuzz_plugin_mixtral, fuzz_plugin_qwen_moe;

void fuzz_add_plugins(void)
{
    const awq_plugin *const plugins[] = {&fuzz_plugin_gpt_oss, &fuzz_plugin_mixtral,
                                         &fuzz_plugin_qwen_moe};
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins; i++)
        MUST(awq_context_add_plugin(fuzz_context(), plugins[i]) == AWQ_OK);
}
