// What the page asks of its server.

const STORED = "rootspace-token";

export class Refused extends Error {
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }
}

/** Paths are relative to the page, which a proxy may have put below a prefix. Calls `ask` for a token where the server wants one, which throws where the user gives none; the
 * browser's tab remembers it. */
export class Server {
  constructor(ask) {
    this.ask = ask;
    this.asking = null;
  }

  async get(path) {
    return (await this.fetch(path)).json();
  }

  async floats(path) {
    return new Float32Array(await (await this.fetch(path)).arrayBuffer());
  }

  /** An address for <img>, which cannot send the token itself. */
  async picture(path) {
    return URL.createObjectURL(await (await this.fetch(path)).blob());
  }

  async send(path, content) {
    const headers = { "content-type": "application/json" };
    return (await this.fetch(path, { method: "POST", body: JSON.stringify(content), headers })).json();
  }

  /** A form of images and fields. */
  async post(path, images = [], fields = {}) {
    const form = new FormData();
    for (const { blob, name } of images) form.append("images", blob, name);
    for (const [key, value] of Object.entries(fields)) form.append(key, value);
    const body = images.length || Object.keys(fields).length ? form : undefined;
    return (await this.fetch(path, { method: "POST", body })).json();
  }

  async fetch(path, options = {}) {
    const token = sessionStorage.getItem(STORED);
    const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch {
      throw new Refused("The server does not answer. Is it running?");
    }
    if (response.status === 401) {
      this.asking ??= this.ask(token !== null).finally(() => (this.asking = null));
      sessionStorage.setItem(STORED, await this.asking);
      return this.fetch(path, options);
    }
    if (!response.ok) {
      const told = await response.json().catch(() => null);
      throw new Refused(told?.error?.message ?? `The server answers ${response.status}.`, told?.error?.code);
    }
    return response;
  }
}
