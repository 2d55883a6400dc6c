// What ptxas says about each kernel of a compilation.

/**
 * The kernels of a log by name: { registers, stack, spill, shared }, the latter three in bytes; and the lines that are no report of
 * ptxas: warnings.
 */
export function resourcesOf(log) {
  const kernels = {};
  const warnings = [];
  let name;
  for (const line of log.split('\n')) {
    const entry = /Compiling entry function '(\w+)'/.exec(line);
    if (entry !== null) kernels[(name = entry[1])] = { registers: 0, stack: 0, spill: 0, shared: 0 };
    else if (!line.startsWith('ptxas')) warnings.push(line);
    else if (/\b(warning|error)\b/i.test(line)) warnings.push(line);
    else Object.assign(kernels[name] ?? {}, numbersOf(line));
  }
  return { kernels, warnings: warnings.filter((line) => line.trim() !== '' && !line.includes('warnings can be suppressed')) };
}

function numbersOf(line) {
  const number = (pattern) => Number(pattern.exec(line)?.[1] ?? 0);
  if (line.includes('stack frame'))
    return { stack: number(/(\d+) bytes stack/), spill: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/) };
  if (line.includes('registers')) return { registers: number(/Used (\d+) registers/), shared: number(/(\d+) bytes smem/) };
  return {};
}
