// Reads the settings. It takes exactly what refgate hands over, and nothing wider: no numbers, no nesting.
#include "settings.h"

#include <stdlib.h>
#include <string.h>

struct reader {
  const char *at, *end;
};

void text_add(struct text *to, const char *bytes, size_t len) {
  char *grown = realloc(to->bytes, to->len + len + 1);
  if (!grown) abort(); // A trap: refgate says that the call failed, and that memory was refused.
  memcpy(grown + to->len, bytes, len);
  to->bytes = grown;
  to->len += len;
}

void text_say(struct text *to, const char *words) { text_add(to, words, strlen(words)); }

static bool is(struct reader *r, char wanted) {
  while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at) r->at++;
  return r->at < r->end && *r->at == wanted;
}

static bool take(struct reader *r, char wanted) { return is(r, wanted) ? (r->at++, true) : false; }

// Four hex digits of a `\u` escape.
static bool hex(struct reader *r, unsigned *unit) {
  if (r->end - r->at < 4) return false;
  *unit = 0;
  for (int i = 0; i < 4; i++) {
    char c = *r->at++;
    int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (digit < 0) return false;
    *unit = *unit << 4 | (unsigned)digit;
  }
  return true;
}

// A `\u` escape, or the two of a surrogate pair, as UTF-8.
static bool escaped(struct reader *r, struct text *text) {
  unsigned c, low;
  if (!hex(r, &c)) return false;
  if (c >= 0xd800 && c < 0xdc00) {
    if (r->end - r->at < 2 || *r->at++ != '\\' || *r->at++ != 'u' || !hex(r, &low)) return false;
    if (low < 0xdc00 || low > 0xdfff) return false;
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  } else if (c >= 0xdc00 && c < 0xe000) {
    return false;
  }
  // How many bytes follow the first one, and what marks it.
  int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  char utf8[4] = {(char)((more ? 0xf0 << (3 - more) : 0) | c >> 6 * more)};
  for (int i = 1; i <= more; i++) utf8[i] = (char)(0x80 | (c >> 6 * (more - i) & 0x3f));
  text_add(text, utf8, (size_t)more + 1);
  return true;
}

static bool string(struct reader *r, struct text *text) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  *text = (struct text){0};
  text_add(text, "", 0);
  if (!take(r, '"')) return false;
  while (r->at < r->end) {
    char c = *r->at++;
    if (c == '"') return true;
    if (c != '\\') {
      text_add(text, &c, 1);
      continue;
    }
    if (r->at == r->end) return false;
    c = *r->at++;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) text_add(text, &to[known - from], 1);
    else if (c != 'u' || !escaped(r, text)) return false;
  }
  return false;
}

static bool value(struct reader *r, struct settings *s, struct text key, long index) {
  struct setting item = {.key = key, .index = index};
  if (!string(r, &item.value)) return false;
  struct setting *grown = realloc(s->items, (s->len + 1) * sizeof item);
  if (!grown) abort();
  grown[s->len++] = item;
  s->items = grown;
  return true;
}

static bool values(struct reader *r, struct settings *s, struct text key) {
  if (!take(r, '[')) return value(r, s, key, -1);
  if (take(r, ']')) return true;
  long index = 0;
  do {
    if (!value(r, s, key, index++)) return false;
  } while (take(r, ','));
  return take(r, ']');
}

bool settings_read(struct settings *settings, const char *json, size_t len) {
  struct reader r = {json, json + len};
  *settings = (struct settings){0};
  if (!take(&r, '{')) return false;
  if (!take(&r, '}')) {
    do {
      struct text key;
      if (!string(&r, &key) || !take(&r, ':') || !values(&r, settings, key)) return false;
    } while (take(&r, ','));
    if (!take(&r, '}')) return false;
  }
  is(&r, '\0'); // Skips the white space at the end.
  return r.at == r.end;
}
