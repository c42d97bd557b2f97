// The worker trains, a tenth of a second at a time, and tells the page in between. So the page
// never stalls.

const TICK = 100, ROWS = 5; // milliseconds of work in between; images of a batch to show
let page, data; // what the page sent first; a promise of the images
// The page's number of a training, the training, and its generator
let number, settings, training, run;
let timer = 0, seconds = 0, told = 0; // `told` epochs are known to the page

const ORDERS = {
  async start(message) {
    ({number, settings} = message);
    page ??= message.page;
    data ??= Promise.all(message.files.map(unpack));
    const [train, validation, test] = await data;
    training = new Training(settings, {train, validation, test}, page);
    run = training.run();
    seconds = told = 0;
    tell();
  },
  run: () => tick(),
  pause: () => tell(),
  step() {
    while (training.scoring) run.next();
    run.next();
    const {X, network, iteration} = training, {numbers, columns} = network.layers.at(-1).a;
    const batch = Array.from(training.labels.subarray(0, ROWS), (label, row) => {
      const bytes = new Uint8Array(X.columns);
      for (let k = X.begins[row]; k < X.ends[row]; k++) bytes[X.places[k]] = X.numbers[k];
      return {label, bytes, logits: [...numbers.subarray(row * columns, (row + 1) * columns)]};
    });
    const step = {
      batch,
      loss: crossEntropy(training.terms),
      rate: learningRate(settings, iteration - 1),
    };
    let isDone = false;
    while (!isDone && (training.scoring || iteration === settings.iterations))
      isDone = run.next().done;
    tell({step, ...(isDone && result())});
  },
};

// Orders are obeyed one after the other, and the first one waits for the data. Without a training,
// only its start is.
let last = Promise.resolve();
onmessage = ({data: message}) => {
  last = last.then(() => {
    clearTimeout(timer); // an order ends the one before, also if it is the same
    if (message.order === "start") run = null;
    return (message.order === "start" || run) && ORDERS[message.order](message);
  }).catch(fail);
};

// Return the images of a file, if it is the one in dvc.lock.
async function unpack({path, md5: expected, text}) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("This browser is too old to train; get a newer one.");
  const open = async () =>
    new Blob([readBytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(
    await open()
      .then(stream => new Response(stream).arrayBuffer())
      .catch(() => new ArrayBuffer(0)),
  );
  if (md5(bytes) !== expected)
    throw new Error(`This page is damaged: its ${path} is not the one in dvc.lock. Load it again.`);
  const {images, labels: t} = readNpz(bytes), classes = page.classes.length, n = t.length / classes;
  const labels = Uint16Array.from({length: n}, (_, i) =>
    t.subarray(i * classes, (i + 1) * classes).indexOf(1),
  );
  return new Images(images, labels, images.length / n);
}

function tick() {
  const began = performance.now();
  let isDone = false;
  while (!isDone && performance.now() < began + TICK) isDone = run.next().done;
  seconds += (performance.now() - began) / 1000;
  tell(isDone && result());
  if (!isDone) timer = setTimeout(() => { try { tick(); } catch (error) { fail(error); } });
}

const file = () => modelFile(training.network, settings, page);
const result = () => ({md5: md5(file()), test: training.test});

function tell(more) {
  const {iteration, count} = training,
    epochs = training.epochs.slice(told),
    epoch = Math.ceil(iteration / count);
  const loss = iteration ? training.loss() : undefined; // of the epoch so far
  postMessage({number, iteration, seconds, loss, epoch, epochs, file: file(), ...more});
  told += epochs.length;
}

function fail(error) {
  run = null;
  const advice =
    "its numbers are no longer finite. Lower learning_rate, or choose a smaller weight_init_std.";
  const diverged = `Training diverged at step ${training?.iteration + 1}: ${advice}`;
  postMessage({number, error: error instanceof RangeError ? diverged : error.message});
}
