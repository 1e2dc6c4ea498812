// pg-boss behind node:http. The queue's policy and the key let an event wait once only; when its job has begun, it may
// wait again.
import { awaitStart, begun, serve } from './common.mjs'
import PgBoss from 'pg-boss'

const [, , verb, connectionString, batch, how] = process.argv
const QUEUE = 'webhooks'
const boss = new PgBoss({ connectionString })
boss.on('error', console.error)

// A loop over its `fetch` and `complete`.
async function fetchAndComplete (batchSize) {
  for (;;) {
    const jobs = await boss.fetch(QUEUE, { batchSize })
    if (jobs.length > 0) await boss.complete(QUEUE, jobs.map((job) => job.id))
    else await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

if (verb === 'serve') {
  await boss.start()
  await boss.createQueue(QUEUE, { name: QUEUE, policy: 'short' })
  serve(async (event) => (await boss.send(QUEUE, event, { singletonKey: event.id })) === null)
} else {
  await awaitStart()
  await boss.start()
  const batchSize = Number(batch)
  // half a second is the shortest interval that it takes
  if (how === 'work') await boss.work(QUEUE, { batchSize, pollingIntervalSeconds: 0.5 }, async () => {})
  else fetchAndComplete(batchSize)
  await begun()
}
