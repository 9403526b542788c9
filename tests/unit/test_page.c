/* The report as a page: its numbers, whatever the report says, and that it is well formed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "page/page.h"
#include "temp_files.h"

static const char expert[] = "{\"tokens\": 40, \"borrowed\": 0, \"sampled\": 20, \"down_ratio\": "
                             "0.35, \"clipped\": true, \"rtn_error\": 8, \"error\": 4, "
                             "\"gptq_error\": 2, \"gptq\": true}";
static const char few[] = "{\"tokens\": 10, \"borrowed\": 6, \"sampled\": 10, \"down_ratio\": "
                          "\"identity\", \"clipped\": false, \"rtn_error\": 4, \"error\": 4}";
static const char none[] =
    "{\"tokens\": 0, \"borrowed\": 16, \"sampled\": 16, \"down_ratio\": 0.5, "
    "\"clipped\": false, \"rtn_error\": 1, \"error\": 1}";

static void write_others(fixture *f, const char *recipe)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"rounding\": \"gptq\", \"quantized_modules\": 12, \"recipe\": \"%s\"}", recipe);
    write_text(f, "awq_provenance.json", text);
}

static void write_report(fixture *f, const char *extra)
{
    char text[4096];
    snprintf(text, sizeof text,
             "{\"schema\": 1, \"version\": \"0.2.0\", \"model\": \"Small\", \"model_type\": "
             "\"some_moe\", \"format\": \"awq\", "
             "\"bytes_before\": 2000000, \"bytes_after\": 500000, \"calibration_tokens\": 16384, "
             "\"calibration_sequences\": 32%s, \"layers\": [{\"layer\": 0, \"experts\": "
             "{\"gate_up_ratio\": 0.2, \"gate_up_salience\": {\"median\": 0.5, \"largest\": 6, "
             "\"outlier_count\": 2, \"outliers\": [3, 61]}, \"fold_error\": 4.5e-07, "
             "\"stored_router_agreement\": 1, \"fell_back_to_rtn\": false, \"each\": [%s, %s, "
             "%s]}}]}",
             extra, expert, few, none);
    write_text(f, "awq_report.json", text);
    write_others(f, "model: x");
}

static char *page_of(fixture *f)
{
    awq__page_result result;
    awq__text html = {0};
    assert_int_equal(awq__page_read(f->ctx, f->directory, "Small", &result), AWQ_OK);
    assert_int_equal(awq__page_make(f->ctx, &result, 1, &html), AWQ_OK);
    awq__page_free(&result);
    return html.data;
}

static void assert_has(const char *html, const char *part)
{
    if (!strstr(html, part))
        fail_msg("the page has no \"%s\"", part);
}

/* Every element that opens is closed, in order; none of the text is markup. */
static void assert_well_formed(const char *html)
{
    enum { DEEPEST = 32, NAME = 16 };
    char open[DEEPEST][NAME];
    int depth = 0;
    for (const char *at = strchr(html, '<'); at; at = strchr(at + 1, '<')) {
        const char *end = strchr(at, '>');
        char name[NAME];
        if (at[1] == '!')
            continue;
        assert_non_null(end);
        assert_int_equal(sscanf(at + 1 + (at[1] == '/'), "%15[a-z0-9]", name), 1);
        if (at[1] == '/') {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (end[-1] != '/') {
            assert_true(depth < DEEPEST);
            memcpy(open[depth++], name, sizeof name);
        }
    }
    assert_int_equal(depth, 0);
}

static void numbers_are_those_of_the_report(void **state)
{
    fixture *f = *state;
    write_report(f, ", \"evaluation\": {\"perplexity\": 23.78911059355502, \"tokens\": 5100, "
                    "\"reference_perplexity\": 23.680574762220587, \"kl\": 0.003325557427137581, "
                    "\"top1_agreement\": 0.9642578125, \"router_topk_agreement\": 0.96}");
    char *html = page_of(f);
    assert_well_formed(html);
    assert_has(html, "<data value=\"2000000\">2.00 MB</data> → <data value=\"500000\">500.00 kB");
    assert_has(html, "<data value=\"0.75\">75.00 %</data>");
    assert_has(html, "<data value=\"23.78911059355502\">23.789</data>");
    assert_has(html, "<data value=\"0.003325557427137581\">0.00333</data> nats");
    assert_has(html, "<data value=\"0.9642578125\">96.43 %</data>");
    assert_has(html, "<data value=\"16384\">16,384</data> in <data value=\"32\">32</data>");
    /* 40 of 20 tokens and 10 of 10: (2 * 2 + 4) / (2 * 8 + 4) after, (2 * 4 + 4) / 20 before. */
    assert_has(html, "<data value=\"0.4\">0.4</data></td><td><data value=\"0.6\">0.6</data>");
    assert_has(html, "<data value=\"12\">12</data></td><td class=\"text\">3, 61</td>");
    free(html);
}

/* A path is one mark: the first expert has twice the mean and more, the second few, the third none.
 */
static void the_map_marks_rare_and_dead_experts(void **state)
{
    fixture *f = *state;
    write_report(f, "");
    char *html = page_of(f);
    assert_well_formed(html);
    assert_has(html, "<path class=\"l5\" d=\"M0 0h9v9h-9z\"/>");
    assert_has(html, "<path class=\"rare\" d=\"M11 1h7v7h-7z\"/>");
    assert_has(html, "<path class=\"dead\" d=\"M21 1l7 7m0-7l-7 7\"/>");
    assert_has(html, "asked for no evaluation");
    assert_null(strstr(html, "Same most likely token"));
    free(html);
}

static void texts_of_others_are_no_markup(void **state)
{
    fixture *f = *state;
    write_report(f, "");
    write_others(f, "model: </pre><script>alert(1)</script>&amp;\\\"");
    char *html = page_of(f);
    assert_well_formed(html);
    assert_null(strstr(html, "<script"));
    assert_has(html, "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;&quot;");
    free(html);
}

/* Whatever stands where numbers and lists are expected, there is a page. */
static void strange_values_give_dashes(void **state)
{
    static const char *const reports[] = {
        "{\"layers\": []}",
        "{\"layers\": [1, null, {\"experts\": 3}, {\"experts\": {\"each\": [0, {}, {\"tokens\": "
        "-1e300, \"down_ratio\": 1e300, \"error\": \"x\"}]}}]}",
        "{\"layers\": [{\"layer\": 0}], \"mixed\": {\"schemes\": [3, \"4:128\"], \"units\": "
        "[{\"layer\": 0, \"chosen\": 1e9, \"loss\": [1]}, {\"layer\": 0, \"chosen\": -1}, 7]}}",
        "{\"layers\": [{\"attention\": [1, \"_ratio\"], \"experts\": {}}, {\"attention\": "
        "{\"<b>_ratio\": 1, \"_ratio\": 2, \"o_ratio\": \"identity\"}}]}",
        "{\"layers\": [{}], \"bytes_before\": 0, \"bytes_after\": \"x\", \"evaluation\": []}",
    };
    fixture *f = *state;
    write_others(f, "");
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        write_text(f, "awq_report.json", reports[i]);
        char *html = page_of(f);
        assert_well_formed(html);
        assert_null(strstr(html, "nan"));
        assert_null(strstr(html, "inf"));
        free(html);
    }
}

static void what_is_no_result_is_refused(void **state)
{
    fixture *f = *state;
    awq_page *page = (awq_page *)1;
    assert_int_equal(awq_page_create(f->ctx, f->directory, NULL, &page), AWQ_ERROR_IO);
    assert_null(page);
    assert_message(f, "awq_report.json");
    write_others(f, "");
    write_text(f, "awq_report.json", "{\"layers\": 3}");
    assert_int_equal(awq_page_create(f->ctx, f->directory, NULL, &page), AWQ_ERROR_FORMAT);
    assert_message(f, "has no list \"layers\"");
    assert_int_equal(awq_page_create(f->ctx, NULL, NULL, &page), AWQ_ERROR_ARGUMENT);
    assert_string_equal(awq_page_html(NULL), "");
    awq_page_free(NULL);
}

static void two_results_stand_beside_each_other(void **state)
{
    fixture *f = *state;
    awq_page *page;
    write_report(f, "");
    assert_int_equal(awq_page_create(f->ctx, f->directory, f->directory, &page), AWQ_OK);
    assert_well_formed(awq_page_html(page));
    assert_has(awq_page_html(page), "<span class=\"key b\"></span>awq-test-");
    assert_has(awq_page_html(page), "<rect class=\"b\" width=\"40.0\"");
    awq_page_free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_are_those_of_the_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_map_marks_rare_and_dead_experts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(texts_of_others_are_no_markup, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strange_values_give_dashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_result_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_results_stand_beside_each_other, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
