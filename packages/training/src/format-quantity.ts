const units = ['', 'k', 'M', 'G', 'T'];

/** `12.3 M`: three digits and a decimal prefix. */
export function formatCount(count: number): string {
  const [value, unit] = scaled(count, 1000);
  return unit === '' ? String(count) : `${value} ${unit}`;
}

/** `12.3 MiB`: three digits and a binary prefix. */
export function formatBytes(bytes: number): string {
  const [value, unit] = scaled(bytes, 1024);
  return unit === '' ? `${bytes} B` : `${value} ${unit === 'k' ? 'K' : unit}iB`;
}

/** `1:05` or `2:03:05`: minutes and seconds, hours where there are some. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

function scaled(value: number, base: number): [string, string] {
  let rest = value;
  let unit = 0;
  while (Math.round(Math.abs(rest)) >= base && unit < units.length - 1) {
    rest /= base;
    unit++;
  }
  return [rest.toFixed(Math.abs(rest) >= 100 ? 0 : 1), units[unit] ?? ''];
}
