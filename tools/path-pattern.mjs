/** Whether a path fits one of some patterns, in which `**` stands for any folders and `*` for any name. */
export function matchesAny(patterns, path) {
  return patterns.some((pattern) => expressionOf(pattern).test(path));
}

function expressionOf(pattern) {
  const parts = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').split(/(\*\*\/|\*\*|\*)/);
  const translated = { '**/': '(?:.*/)?', '**': '.*', '*': '[^/]*' };
  return new RegExp(`^${parts.map((part) => translated[part] ?? part).join('')}$`);
}
