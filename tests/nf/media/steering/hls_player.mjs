// Loads a multivariant playlist with hls.js (HLS_JS: path of its hls.mjs), without media, until its first steering
// manifest is applied; prints what it plays then.
globalThis.self = globalThis;
globalThis.location = { href: process.argv[2] };
globalThis.MediaSource = class { static isTypeSupported() { return true; } addSourceBuffer() {} };
globalThis.SourceBuffer = class { appendBuffer() {} remove() {} };
const { default: Hls } = await import(process.env.HLS_JS);

class Loader {
  constructor() {
    const times = () => ({ start: 0, first: 0, end: 0 });
    this.stats = { aborted: false, loaded: 0, retry: 0, total: 0, chunkCount: 0, bwEstimate: 0,
      loading: times(), parsing: times(), buffering: times() };
  }
  load(context, _config, callbacks) {
    this.context = context;
    fetch(context.url).then(async (answer) => {
      const data = context.responseType === 'json' ? await answer.json() : await answer.text();
      if (answer.ok) callbacks.onSuccess({ url: answer.url, data, code: answer.status }, this.stats, context, answer);
      else callbacks.onError({ code: answer.status, text: answer.statusText }, context, answer, this.stats);
    }).catch((error) => callbacks.onError({ code: 0, text: String(error) }, context, null, this.stats));
  }
  abort() {}
  destroy() {}
  getCacheAge() { return null; }
  getResponseHeader() { return null; }
}

const hls = new Hls({ loader: Loader, autoStartLoad: false, enableWorker: false });
hls.on(Hls.Events.MANIFEST_PARSED, () => hls.networkControllers
  .find((one) => 'pathwayPriority' in one || one.constructor.name.startsWith('ContentSteering')).startLoad());
hls.on(Hls.Events.STEERING_MANIFEST_LOADED, () => setTimeout(() => {
  console.log(JSON.stringify({
    priority: hls.pathwayPriority,
    levels: hls.levels.map((level) => [level.pathwayId, level.url[0]]),
    audio: hls.audioTracks.map((track) => track.url),
  }));
  process.exit(0);
}, 0));
hls.loadSource(process.argv[2]);
