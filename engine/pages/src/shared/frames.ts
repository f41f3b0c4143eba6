// Has things drawn at animation frames, each at most once a frame, however often it is asked for.
// Owns the one queue of the page. A page that is hidden draws nothing.

type Draw = (now_ms: number) => void;

const wanted = new Set<Draw>();
let is_asked = false;
export const drawn = { frames: 0 };

export function draw(what: Draw): void {
  wanted.add(what);
  if (is_asked) return;
  is_asked = true;
  requestAnimationFrame(drawAll);
}

function drawAll(now_ms: number): void {
  is_asked = false;
  drawn.frames++;
  const now = [...wanted];
  wanted.clear();
  for (const what of now) what(now_ms);
}

/** Calls back about so often while the page is seen. Answers a function that ends it. */
export function every(ms: number, what: () => void): () => void {
  const timer = setInterval(() => document.hidden || what(), ms);
  return () => clearInterval(timer);
}
