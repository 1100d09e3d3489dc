// What the server knows of the past.

const LIMIT = 5000; // ms

async function get(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(LIMIT) });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}

export const total = (seconds) => get(`api/history?seconds=${seconds}`);
export const byWorker = (seconds) => get(`api/history?seconds=${seconds}&by=worker`);
export const loadTests = () => get("api/load-tests");
