import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { missingTools } from '../helpers/kubernetes-tools.ts'
import { type Rendered, render } from './chart.ts'

const document = readFileSync('docs/install.md', 'utf8')
const snippets = [...document.matchAll(/^```yaml\n(.*?)^```$/gms)].map((match) => match[1]!)

describe.skipIf(missingTools !== undefined)('docs/install.md', () => {
  test.each(snippets.map((text) => [text.split('\n').slice(0, 3).join(' '), text]))(
    'gives values that the chart takes: %s',
    async (_start, text) => {
      expect((await render(parse(text))).objects.length).toBeGreaterThan(0)
    },
  )

  test('names the Secrets and ports that the chart has', async () => {
    const tls = { api: { enabled: true }, relayServer: { enabled: true }, metrics: { enabled: true } }
    const release = await render({ relay: { enabled: true }, ui: { enabled: true }, tls })
    const secrets = release.pods.flatMap(({ spec }) =>
      spec.volumes.flatMap(({ secret }: Rendered) => (secret ? [secret.secretName] : [])),
    )
    expect(new Set(secrets).size).toBe(5)
    for (const secret of secrets) expect(document).toContain(`| \`${secret}\` |`)
    for (const { containerPort } of release.agent.ports) expect(document).toContain(String(containerPort))
  })
})
