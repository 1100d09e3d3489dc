// What every part of the page does with its elements.

export const element = (id) => document.getElementById(id);

// Only text that differs is set: a screen reader reads what changes, and so does the browser's layout.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const show = (id, text) => setText(element(id), text);

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Children of a parent by key, in order; those that stay are the same elements, so that they can be seen to change.
export function arrange(parent, keys, create) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = keys.map((key) => {
    const child = known.get(key) ?? create(key);
    child.dataset.key = key;
    known.delete(key);
    return child;
  });
  for (const child of known.values()) child.remove();
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  return wanted;
}
