import { describe, expect, test } from 'vitest'
import { run } from '../test/helpers/run-cli.ts'
import { EXIT_CODES } from './exit-codes.ts'

describe('sluice', () => {
  const cases: [string[], number, RegExp][] = [
    [['--help'], 0, /Commands:\n {2}observe/],
    [['help', 'observe'], 0, /Usage: sluice observe/],
    [['observe', '--help'], 0, /Examples:\n {2}sluice observe --namespace shop/],
    [['--version'], 0, /^\d+\.\d+\.\d+\n$/],
    [['version'], 0, /^sluice \d+\.\d+\.\d+ \(Node /],
  ]
  test.each(cases)('%j prints and ends with %i', async (args, code, pattern) => {
    const result = await run(args)
    expect(result.stdout).toMatch(pattern)
    expect(result.stderr).toBe('')
    expect(result.code).toBe(code)
  })

  const mistakes: [string[], RegExp][] = [
    [['no-such-command'], /unknown command 'no-such-command'/],
    [['observe', '--no-such-flag'], /unknown option '--no-such-flag'/],
    [['observe', '--colour', 'never'], /unknown option '--colour'\n\(Did you mean --color\?\)/],
    [['observe', '-o', 'foo'], /Allowed choices are compact, dict, table/],
    [['observe', '-o', 'table', '-f'], /Cannot use --follow with output "table"/],
    [['observe', 'agent-events', '-o', 'dict'], /Cannot show agent-events as "dict"/],
    [['observe', '--server', 'nonsense'], /Cannot use "nonsense" as a server/],
    [['status', '--timeout', 'soon'], /Cannot use --timeout "soon"/],
    [['agent', '--set', 'nonsense'], /Cannot use --set "nonsense": want key=value/],
    [['doctor', '--config', '/no/such/file.yaml'], /\/no\/such\/file\.yaml/],
    [['demo', '--for', '-3s'], /Cannot use --for "-3s"/],
    [['lab', 'down', 'no-such-lab'], /No lab "no-such-lab"/],
    [['completion', 'tcsh'], /Allowed choices are bash, zsh, fish/],
  ]
  test.each(mistakes)('%j is wrong usage: says why and ends with 2', async (args, pattern) => {
    const result = await run(args)
    expect(result.stderr).toMatch(pattern)
    expect(result.stdout).toBe('')
    expect(result.code).toBe(2)
  })

  test('ends with 1, the reason and a fix when no server is there', async () => {
    const result = await run(['status', '--server', '127.0.0.1:1', '--timeout', '500ms', '--request-timeout', '1s'])
    expect(result.code).toBe(1)
    expect(result.stderr).toMatch(/error: (Cannot reach|No answer from) "127\.0\.0\.1:1"/)
    expect(result.stderr).toMatch(/fix: {3}/)
  })

  test('names every exit code in --help', async () => {
    const { stdout } = await run(['--help'])
    for (const { code, meaning } of Object.values(EXIT_CODES)) expect(stdout).toContain(`  ${code}  ${meaning}\n`)
  })

  test('version -o json is one JSON object', async () => {
    const { stdout } = await run(['version', '-o', 'json'])
    expect(JSON.parse(stdout)).toMatchObject({ sluice: expect.any(String), node: process.versions.node })
  })
})

describe('colours', () => {
  const line = '{"flow":{"verdict":"DROPPED"}}\n'
  const cases: [string, object, string[], boolean][] = [
    ['not into a pipe', {}, [], false],
    ['on a terminal', { isTTY: true }, [], true],
    ['not with NO_COLOR', { isTTY: true, env: { NO_COLOR: '1' } }, [], false],
    ['with an empty NO_COLOR', { isTTY: true, env: { NO_COLOR: '' } }, [], true],
    ['not on a dumb terminal', { isTTY: true, env: { TERM: 'dumb' } }, [], false],
    ['when told to', {}, ['--color', 'always'], true],
    ['never when told so', { isTTY: true }, ['--color', 'never'], false],
  ]
  test.each(cases)('%s', async (_, options, flags, colored) => {
    const { stdout } = await run(['observe', '--input-file', '-', ...flags], { stdin: line, ...options })
    expect(stdout.includes('\x1b[31mDROPPED')).toBe(colored)
  })
})
