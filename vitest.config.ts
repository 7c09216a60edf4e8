import { defineConfig } from 'vitest/config'

const exclude = ['**/node_modules/**', '**/dist/**', '**/dist.*/**', '**/build/**']

/**
 * One project per tier (CONTRIBUTING.md, "Tiers"). Kernel and e2e tests own interfaces, pins and ports of
 * this machine, so their files run one after another; unit tests run side by side.
 */
export default defineConfig({
  test: {
    // One for each CPU: half of the unit tier's time is fuzzing, which waits for nothing.
    maxWorkers: '100%',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...exclude, 'test/kernel/**', 'test/e2e/**', 'test/interop/**', '**/*.kernel.test.ts'],
          pool: 'forks',
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'kernel',
          include: ['test/kernel/**/*.test.ts', '**/*.kernel.test.ts'],
          exclude,
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude,
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          exclude,
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
})
