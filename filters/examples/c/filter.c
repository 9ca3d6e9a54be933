// A push filter that keeps work in progress at home: no ref with one of the prefixes leaves the site.
#include <stdlib.h>
#include <string.h>

#include "bindings/push_filter.h"
#include "settings.h"

// Set once, by `configure`.
static push_filter_list_u8_t *prefixes;
static size_t prefix_count;

static void add_prefix(const char *bytes, size_t len) {
  prefixes = realloc(prefixes, (prefix_count + 1) * sizeof *prefixes);
  if (!prefixes) abort();
  prefixes[prefix_count++] = (push_filter_list_u8_t){(uint8_t *)bytes, len};
}

// The JSON pointer of a setting: RFC 6901 writes `~` and `/` of a key as `~0` and `~1`.
static void say_pointer(struct text *to, const struct setting *s) {
  text_say(to, "/");
  for (size_t i = 0; i < s->key.len; i++) {
    char c = s->key.bytes[i];
    if (c == '~') text_say(to, "~0");
    else if (c == '/') text_say(to, "~1");
    else text_add(to, &c, 1);
  }
  if (s->index < 0) return;
  char digits[24], *first = digits + sizeof digits;
  long rest = s->index;
  *--first = '\0';
  do *--first = (char)('0' + rest % 10); while (rest /= 10);
  text_say(to, "/");
  text_say(to, first);
}

// One problem per line.
static void problem(struct text *problems, const struct setting *s, const char *what) {
  if (problems->len) text_say(problems, "\n");
  say_pointer(problems, s);
  text_say(problems, ": ");
  text_say(problems, what);
}

// False is an error: `err` then holds memory of malloc, which the bindings free.
bool exports_refgate_filter_lifecycle_configure(push_filter_string_t *settings, push_filter_string_t *err) {
  struct settings read;
  struct text problems = {0};
  if (!settings_read(&read, (const char *)settings->ptr, settings->len)) {
    push_filter_string_dup(err, ": must be a JSON object of strings and lists of strings");
    return false;
  }
  push_filter_string_free(settings);
  for (size_t i = 0; i < read.len; i++) {
    const struct setting *s = &read.items[i];
    if (s->key.len != 6 || memcmp(s->key.bytes, "prefix", 6)) {
      // Said once for a list.
      if (s->index <= 0) problem(&problems, &(struct setting){.key = s->key, .index = -1}, "unknown, the only setting is `prefix`");
    } else if (s->value.len < 5 || memcmp(s->value.bytes, "refs/", 5)) {
      problem(&problems, s, "does not begin with refs/");
    } else {
      add_prefix(s->value.bytes, s->value.len);
    }
  }
  if (problems.len) {
    *err = (push_filter_string_t){(uint8_t *)problems.bytes, problems.len};
    return false;
  }
  if (!prefix_count) add_prefix("refs/heads/wip/", strlen("refs/heads/wip/"));
  return true;
}

// The borrowed handles are dropped by the bindings at return (`autodrop_borrows`).
bool exports_refgate_filter_push_filter(exports_refgate_filter_push_borrow_ref_batch_t batch,
                                        exports_refgate_filter_push_borrow_verdicts_t verdicts,
                                        push_filter_string_t *err) {
  (void)err;
  push_filter_string_t reason;
  push_filter_string_set(&reason, "work-in-progress");
  for (size_t i = 0; i < prefix_count; i++) {
    push_filter_list_u32_t found;
    refgate_filter_batches_method_ref_batch_select_prefix(batch, &prefixes[i], &found);
    refgate_filter_batches_method_verdicts_discard(verdicts, &found, &reason);
    push_filter_list_u32_free(&found);
  }
  return true;
}
