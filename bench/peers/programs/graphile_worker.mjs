// Graphile Worker behind node:http. The key replaces a job that waits by the new one; it cannot be told which it was.
import { awaitStart, begun, serve } from './common.mjs'
import { Logger, makeWorkerUtils, run } from 'graphile-worker'

const [, , verb, connectionString, tuned] = process.argv
const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message) })
// What its own performance test has; its page on performance names the settings of `tuned`.
const CONCURRENT_JOBS = 24
const BATCHING = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }

if (verb === 'serve') {
  const utils = await makeWorkerUtils({ connectionString, logger })
  await utils.migrate()
  serve(async (event) => {
    await utils.addJob('webhook', event, { jobKey: event.id })
    return false
  })
} else {
  await awaitStart()
  let handled = 0
  const concurrency = { concurrentJobs: CONCURRENT_JOBS, maxPoolSize: CONCURRENT_JOBS + 1 }
  await run({
    preset: { worker: { connectionString, logger, ...concurrency, ...(tuned ? BATCHING : {}) } },
    taskList: { webhook: async () => { handled += 1 } },
    noHandleSignals: true
  })
  await begun(() => handled)
}
