import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { run } from '../test/helpers/run-cli.ts'

const hasShell = (shell: string) => spawnSync(shell, ['-c', 'exit 0']).status === 0

/** What bash offers when Tab is pressed at the end of a line. */
async function bashOffers(line: string): Promise<string[]> {
  const { stdout } = await run(['completion', 'bash'])
  const words = line.split(' ')
  const script = `${stdout}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})
COMP_CWORD=${words.length - 1}
_sluice
printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim().split('\n')
}

describe('completion bash', () => {
  const cases: [string, string[]][] = [
    ['sluice st', ['status']],
    ['sluice l', ['list', 'ledger', 'lab']],
    ['sluice list n', ['nodes', 'namespaces']],
    ['sluice observe --from-p', ['--from-pod', '--from-port']],
    ['sluice observe -o j', ['json', 'jsonpb']],
    ['sluice observe --pod x -o w', ['wide']],
    ['sluice ledger -o w', ['wide']],
    ['sluice completion z', ['zsh']],
    ['sluice observe ag', ['agent-events']],
    ['sluice lab s', ['sweep']],
  ]
  test.each(cases)('%s<Tab> offers %j', async (line, offers) => {
    expect(await bashOffers(line)).toEqual(offers)
  })

  test('offers files for flags that take one', async () => {
    expect(await bashOffers('sluice agent --config package.js')).toEqual(['package.json'])
  })
})

describe.each(['zsh', 'fish'])('completion %s', (shell) => {
  test.skipIf(!hasShell(shell))(`is a script that ${shell} can read`, async () => {
    const { stdout } = await run(['completion', shell])
    execFileSync(shell, ['-n', '-c', stdout])
  })

  test('knows every command and flag', async () => {
    const { stdout } = await run(['completion', shell])
    const flag = shell === 'zsh' ? '--from-pod' : '-l from-pod'
    for (const text of ['observe', 'ledger', 'doctor', 'agent-events', 'namespaces', flag])
      expect(stdout).toContain(text)
  })
})
