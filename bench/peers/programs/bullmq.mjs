// BullMQ behind node:http. A job's id is the event's: a second one is ignored for as long as the first is kept. It cannot
// be told which it was.
import { awaitStart, begun, serve } from './common.mjs'
import { Queue, Worker } from 'bullmq'

const [, , verb, url] = process.argv
const QUEUE = 'webhooks'
const connection = { host: '127.0.0.1', port: Number(new URL(url).port) }
// Of the "100 to 300" that its documentation calls quite standard.
const CONCURRENCY = 100

if (verb === 'serve') {
  const queue = new Queue(QUEUE, { connection })
  await queue.waitUntilReady()
  serve(async (event) => {
    await queue.add('webhook', event, { jobId: event.id })
    return false
  })
} else {
  await awaitStart()
  const worker = new Worker(QUEUE, async () => {}, { connection, concurrency: CONCURRENCY })
  worker.on('error', console.error)
  await worker.waitUntilReady()
  await begun()
}
